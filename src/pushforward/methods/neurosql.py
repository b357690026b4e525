"""NeuroSQL: a generator fitted to the quantiles of its own latent law, by linear assignment.

Hrusanov, Chen, Bodelet: NeuroSQL, arXiv 2602.18216 (2026); ancestor: Bodelet et al., SQL, arXiv 2003.13119.

Model: ``y_i = g(z_i) + e_i`` with ``z_i`` from a known law. No discriminator; codes come from an assignment. The algorithm:

    0.  images: y <- the codes of an autoencoder learned first, whose decoder D is kept      (space="data": skipped, the paper)
    1.  q_1 .. q_n   a lattice of quantiles of the latent law           (d = 1: q_r = F^-1(r / (n + 1)))
    2.  pi           assign whitened principal scores of y to q         (optimal transport, once)
    3.  repeat until the budget is spent:
    4.      for E epochs:  theta <- Adam on  (1/n) sum_i |F(y_i) - F(g_theta(z_i))|^2,   z_i = q_pi(i)
    5.      q <- a fresh lattice                                        (lattice="fixed": the paper's, kept)
    6.      C_ij = |F(y_i) - F(g_theta(q_j))|^2,   pi <- argmin_pi sum_i C_i,pi(i)     (linear assignment, global)
    7.      z_i <- m z_i + (1 - m) q_pi(i)                              (momentum m, fixed lattice only)
    8.  theta <- moving average of theta;  5. and 6. once more;  z_i = q_pi(i),  e_i = y_i - g(z_i)
    sample:  z ~ latent law,  y = g(z) + e(z),  for images D(y)

With squared error the minimum over pi is W2^2(data, g#lattice), and its gradient in theta is that of step 4: a primal W2.

Departures from the paper (benchmarks/neurosql_digits.py and benchmarks/pictures.py measure the first, second, third and fifth):
    * Images are assigned in a space of learned codes. A regression in pixels blurs, and residuals of pixels bring ghosts; means and
      residuals of codes decode to sharp pictures. The encoder is used for training only.
    * A fresh lattice at every reassignment. On a fixed one the pairing freezes after some epochs and the generator memorises n
      points: fresh latents then give worse samples, the more so the larger d is.
    * Sobol points through the Gaussian quantile function instead of the spherical lattice, which crowds the centre (d >= 4).
    * Reassignment every few epochs over ALL rows, under a cap on its share of the time, instead of mini-batches.
    * Samples include the residual e; the paper's sampler is g(z) alone, which is a conditional mean.
    * Labels: a lattice and an assignment for each class.
    * Adam on a cosine, gradients clipped at norm 1, averaged weights: usual care, not in the paper.
The faithful mode is ``NeuroSQL(space="data", lattice="fixed", latent="ball", momentum=0.5, initial="random", noise="none")``.

When to use: some hundred to some ten thousand rows or images, stable training without tuning, codes for every training row.
When not: fine texture matters more than speed (the decoder smoothes it), or when a density is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from pushforward import nets
from pushforward.codes import autoencoder, code_decoder, cosine, learn_codes, steps_in_epoch
from pushforward.latent import LatentLaw, in_chunks, lattice_advantage, share_nearer_to_train
from pushforward.laws import Ball, Gaussian, Law, Uniform, UnitLaw
from pushforward.method import Method, Paper, TrainingSet
from pushforward.pairing import Pairing
from pushforward.parameters import check_positive
from pushforward.residuals import RESIDUALS
from pushforward.run import Run
from pushforward.solvers.by_class import assign_by_class, class_rows
from pushforward.solvers.principal import principal_scores, standardised, whitening
from pushforward.solvers.quantiles import MOST_DIMENSIONS
from pushforward.solvers.quantiles import lattice as lattice_of

LATENTS: dict[str, Callable[[int], UnitLaw]] = {
    "gaussian": lambda d: Gaussian((d,)),
    "uniform": lambda d: Uniform((d,)),
    "ball": Ball,
}
FEATURES: dict[str, Callable[[Tensor, int], nn.Module]] = {
    "pca": whitening,
    "random": lambda x, k: nets.random_features(x.shape[1:], seed=0).to(x.device),
}
_STRETCH_FROM = 6000
_WIDE = 200  # rows of this many values take twice as long to assign as principal scores
_CHUNK = 2048
_FEWEST_STEPS, _MOST_STEPS = 1500, 20_000  # without a budget: 300 epochs, within these bounds
_STEPS_ON_CODES, _TIME_ON_CODES, _TIME_IF_MANY = (
    0.5,
    0.85,
    0.6,
)  # share of a budget for learning codes, whose steps are dear


class NeuroSQL(Method):
    """Quantile assignment with a neural generator (2602.18216).

    Args:
        latent_dim: dimension ``d`` of the latent law.
        latent: the latent law: ``"gaussian"``, ``"uniform"`` (cube) or ``"ball"`` (the paper's centre-outward quantiles).
        lattice: ``"refresh"`` draws a new lattice at every reassignment; ``"fixed"`` keeps one, as the paper does.
        momentum: weight of the old code when codes are updated (fixed lattice only; 0 is a plain replacement).
        initial: first pairing: ``"pca"`` assigns principal scores to the lattice, ``"random"`` shuffles.
        reassign_every: epochs between two assignments; with a step budget stretched in proportion above 6000 rows.
        assignment_share: with a wall budget, assignments between the first and the last may use at most this share of the time.
        noise: residual added to samples: ``"local"`` (neighbouring residuals combined), ``"gaussian"`` or ``"none"``.
        features: extra coordinates of the cost: ``"none"``, ``"pca"`` (whitened scores), ``"random"`` (a fixed random
            convolutional network) or a module ``[n, *event] -> [n, k]``.
        feature_weight: weight of the squared feature distance; at 1 it has the spread of the squared pixel distance.
        space: where rows are compared and residuals added: ``"data"`` (the paper), ``"codes"`` (learned codes of images), or
            ``"auto"``: codes for images unless a generator or features are given.
        code_dim: dimension of learned codes.
        generator: a module ``[n, latent_dim] -> [n, *event]`` (``latent_dim + classes`` inputs with labels); None builds a
            convolutional network for images and a perceptron for vectors and tables.
        width: channels (images) or a quarter of the hidden units (vectors, tables) of the built-in generator.
        learning_rate: of Adam; follows a cosine to zero.
        batch_size: rows a step.
        ema_decay: of the moving average of the weights that is sampled from.
    """

    paper: ClassVar[Paper] = Paper(
        title="NeuroSQL",
        authors="Hrusanov and Chen and Bodelet",
        year=2026,
        arxiv="2602.18216",
        venue="DeLTa workshop at ICLR 2026",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = LatentLaw

    def __init__(
        self,
        *,
        latent_dim: int = 16,
        latent: Literal["gaussian", "uniform", "ball"] = "gaussian",
        lattice: Literal["refresh", "fixed"] = "refresh",
        momentum: float = 0.0,
        initial: Literal["pca", "random"] = "pca",
        reassign_every: int = 5,
        assignment_share: float = 0.25,
        noise: Literal["local", "gaussian", "none"] = "local",
        features: Literal["none", "pca", "random"] | nn.Module = "none",
        feature_weight: float = 1.0,
        space: Literal["auto", "data", "codes"] = "auto",
        code_dim: int = 32,
        generator: nn.Module | None = None,
        width: int = 64,
        learning_rate: float = 2e-3,
        batch_size: int = 128,
        ema_decay: float = 0.995,
    ) -> None:
        self.latent_dim = latent_dim
        self.latent: Literal["gaussian", "uniform", "ball"] = latent
        self.lattice: Literal["refresh", "fixed"] = lattice
        self.momentum = momentum
        self.initial: Literal["pca", "random"] = initial
        self.reassign_every = reassign_every
        self.assignment_share = assignment_share
        self.noise: Literal["local", "gaussian", "none"] = noise
        self.features: Literal["none", "pca", "random"] | nn.Module = features
        self.feature_weight = feature_weight
        self.space: Literal["auto", "data", "codes"] = space
        self.code_dim = code_dim
        self.generator = generator
        self.width = width
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.ema_decay = ema_decay

    @property
    def codes_(self) -> Tensor:
        """Codes ``[n_train, d]`` of the training rows, in the order of ``train_rows_``."""
        self._require("encode")
        return self.law_.get_buffer("codes")

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law = self._build(data.event_shape, data.classes).to(run.device)
        rows, began = data, 0.0
        if self._in_codes(data.event_shape):
            began = self._share_for_codes(len(data.x), run)
            rows = self._learned_codes(law, data, run, until=began)
        net = run.build("generator", lambda: self._network(rows.event_shape, data.classes))
        optimizer = run.track("adam", torch.optim.Adam(net.parameters(), lr=self.learning_rate, fused=True))
        average = run.average("average", net, self.ema_decay)
        embed = self._embedding(rows, run)
        target = embed(rows.x)
        law.generator = net
        pairing = run.track("pairing", self._initial_pairing(law, target, rows, run))
        run.reserve(pairing.expected)

        epoch = steps_in_epoch(len(rows.x), self.batch_size)
        stretch = 1.0 if run.timed else max(1.0, len(rows.x) / _STRETCH_FROM)  # a wall budget has its cap instead
        period = epoch * math.ceil(self.reassign_every * stretch)
        order = run.rows(len(rows.x), self.batch_size)
        for step in run.loop("train", default=self._default(rows, stages=1), steps_per_epoch=epoch):
            if step and step % period == 0 and self._may_assign(pairing, run):
                self._reassign(pairing, self.momentum, law, target, embed, rows, run)
            optimizer.param_groups[0]["lr"] = self.learning_rate * cosine((run.fraction - began) / (1 - began))
            batch = next(order)
            made = law.head(pairing.codes[batch], None if rows.labels is None else rows.labels[batch])
            run.step(optimizer, (embed(made) - target[batch]).square().sum(1).mean() / target.shape[1], clip=1.0)

        law.generator = average.module.requires_grad_(False).eval()
        if run.affords(pairing.expected):
            self._reassign(pairing, 0.0, law, target, embed, rows, run)
        self._keep_residuals(law, pairing.codes, data, rows, run)
        return law

    def _learned_codes(self, law: LatentLaw, data: TrainingSet, run: Run, until: float) -> TrainingSet:
        """Step 0: codes take the place of images, and the law gets their decoder."""
        pair = run.build("autoencoder", lambda: autoencoder(data.event_shape, self.code_dim, self.width))
        rows, law.decoder = learn_codes(
            data.x,
            pair,
            run,
            default=self._default(data, stages=2),
            until=until,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            ema_decay=self.ema_decay,
        )
        return TrainingSet(rows, data.labels, data.classes)

    def _share_for_codes(self, n: int, run: Run) -> float:
        """The part of the budget for step 0; many rows need time for assignments afterwards."""
        if not run.timed:
            return _STEPS_ON_CODES
        return _TIME_ON_CODES if n <= _STRETCH_FROM else _TIME_IF_MANY

    def _default(self, data: TrainingSet, stages: int) -> str:
        """The budget where none is given."""
        steps = 300 * steps_in_epoch(len(data.x), self.batch_size)
        return f"{stages * min(max(steps, _FEWEST_STEPS), _MOST_STEPS)} steps"

    def _reassign(
        self,
        pairing: Pairing,
        momentum: float,
        law: LatentLaw,
        target: Tensor,
        embed: nn.Module,
        data: TrainingSet,
        run: Run,
    ) -> None:
        """Steps 5 to 7: lattice, images of it, global assignment, new codes; the log says what changed."""

        def image(z: Tensor, labels: Tensor | None) -> Tensor:
            vectors: Tensor = embed(law.head(z, labels))
            return vectors

        began = run.elapsed
        facts: dict[str, float] = {}
        with run.clock("assign"), torch.no_grad(), nets.evaluating(law.generator):
            if self.lattice == "fixed":
                paired = in_chunks(image, pairing.codes, data.labels)
                facts["objective_before"] = float((paired - target).square().mean())
            else:
                pairing.lattice = self._lattice(law, data, run)
            images = in_chunks(image, pairing.lattice, data.labels)
            found = run.world.agree(assign_by_class(target, images, data.labels, generator=run.generator))
            new = momentum * pairing.codes + (1 - momentum) * pairing.lattice[found]
            facts["code_shift"] = float((new - pairing.codes).square().mean() / (2 * pairing.lattice.var(0).mean()))
            if self.lattice == "fixed":
                facts["changed"] = float((found != pairing.permutation).float().mean())
            pairing.codes, pairing.permutation = new, found
            facts["objective"] = float((images[found] - target).square().mean())
        pairing.record(run.elapsed - began)
        run.reserve(pairing.expected)
        run.log(**facts)

    def _may_assign(self, pairing: Pairing, run: Run) -> bool:
        """Whether the cap on the assignments' share of a wall budget allows another one; all processes agree."""
        allowed = self.assignment_share * run.elapsed
        return run.agreed(not run.timed or pairing.seconds + pairing.expected <= allowed)

    def _initial_pairing(self, law: LatentLaw, target: Tensor, data: TrainingSet, run: Run) -> Pairing:
        """Steps 1 and 2."""
        points = run.value("lattice", lambda: self._lattice(law, data, run))

        def pair() -> Tensor:
            if self.initial == "random":
                # in one dimension an assignment sorts: random keys by random keys is a random permutation of each class
                keys = torch.rand(2, len(data.x), 1, generator=run.generator, device=run.device)
                return assign_by_class(keys[0], keys[1], data.labels, generator=run.generator)
            scores = principal_scores(target, self.latent_dim)
            return assign_by_class(scores, standardised(points), data.labels, generator=run.generator)

        first = run.world.agree(run.value("first assignment", pair))
        pairing = Pairing(points[first], points, first)
        wider = min(1.0, target.shape[1] / _WIDE)  # the assignments to come have longer vectors
        pairing.expected = 1.2 * (1 + wider) * run.seconds.get("first assignment", 0.0)
        return pairing

    def _lattice(self, law: LatentLaw, data: TrainingSet, run: Run) -> Tensor:
        """Quantiles ``[n, d]``; with classes, the rows of each class hold a lattice of their own."""
        exact = self.lattice == "fixed" and law.latent.uniform_dim == 1  # F^-1(r / (n + 1)), without a random shift
        points = torch.empty(len(data.x), self.latent_dim, device=data.x.device)
        for rows in class_rows(data.labels, len(data.x), data.x.device):
            points[rows] = lattice_of(law.latent, len(rows), generator=run.generator, scramble=not exact).to(points)
        return points

    @torch.no_grad()
    def _keep_residuals(self, law: LatentLaw, codes: Tensor, data: TrainingSet, rows: TrainingSet, run: Run) -> None:
        """Step 8."""
        law.codes = codes
        law.code_labels = data.labels if data.labels is not None else codes.new_zeros(len(codes), dtype=torch.int64)
        misfit = data.x - in_chunks(law.decode, codes, data.labels)
        law.noise_variance = misfit.square().mean().clamp_min(1e-12)
        law.residuals.fit(codes, rows.x - in_chunks(law.head, codes, data.labels), run.generator, data.labels)

    # ------------------------------------------------------------------ pieces

    def _build(self, event_shape: tuple[int, ...], classes: int) -> LatentLaw:
        coded, decoder = self._in_codes(event_shape), None
        with torch.random.fork_rng(devices=[]):
            network = self._network((self.code_dim,) if coded else event_shape, classes)
            if coded:
                decoder = code_decoder(nets.generator(self.code_dim, event_shape, width=self.width), self.code_dim)
        latent, residuals = LATENTS[self.latent](self.latent_dim), RESIDUALS[self.noise]()
        return LatentLaw(network, latent, residuals, event_shape, classes, decoder)

    def _in_codes(self, event_shape: tuple[int, ...]) -> bool:
        """Whether quantiles are assigned to learned codes."""
        plain = self.generator is None and self.features == "none"
        return len(event_shape) == 3 and (self.space == "codes" or (self.space == "auto" and plain))

    def _network(self, event_shape: tuple[int, ...], classes: int) -> nn.Module:
        if self.generator is not None:
            return deepcopy(self.generator)
        return nets.generator(self._inputs(classes), event_shape, width=self.width)

    def _inputs(self, classes: int) -> int:
        return self.latent_dim + (classes if classes > 1 else 0)

    def _embedding(self, data: TrainingSet, run: Run) -> nn.Module:
        """The vector whose squared Euclidean distance is the cost: pixels, and features scaled to a spread like theirs."""
        if self.features == "none":
            return nn.Flatten()
        if isinstance(self.features, str):
            features = FEATURES[self.features](data.x, self.latent_dim)
        else:
            features = deepcopy(self.features).requires_grad_(False).eval().to(run.device)
        seen = data.x[:_CHUNK]
        spread = features(seen).flatten(1).var(0).sum().clamp_min(1e-12)
        return nets.Joined(features, float((self.feature_weight * seen.flatten(1).var(0).sum() / spread).sqrt()))

    def _check(self, data: TrainingSet) -> None:
        n = len(data.x)
        if not 1 <= self.latent_dim <= n:
            raise ValueError(
                f"latent_dim: must be between 1 and the number of training rows ({n}), got {self.latent_dim}; "
                f"try {max(1, min(16, n // 10))}."
            )
        if LATENTS[self.latent](self.latent_dim).uniform_dim > MOST_DIMENSIONS:
            raise ValueError(f"latent_dim: a lattice has at most {MOST_DIMENSIONS} dimensions, got {self.latent_dim}.")
        if self.features == "random" and len(data.event_shape) != 3:
            raise ValueError("features: 'random' is a convolutional network and needs images; use 'pca' or 'none'.")
        if not 0 <= self.momentum < 1 or (self.momentum and self.lattice == "refresh"):
            raise ValueError(f"momentum: must be in [0, 1), and 0 unless lattice='fixed'; got {self.momentum}.")
        if self.space == "codes" and (
            len(data.event_shape) != 3 or self.generator is not None or self.features != "none"
        ):
            raise ValueError("space: 'codes' is for images, without features and without a generator; use 'data'.")
        check_positive(self, "code_dim", "reassign_every", "batch_size", "width", "learning_rate", "assignment_share")
        if self.feature_weight < 0:
            raise ValueError(f"feature_weight: must be 0 or more, got {self.feature_weight}.")
        if self.generator is not None:
            self._check_generator(data)

    def _check_generator(self, data: TrainingSet) -> None:
        """A generator of the user must have the right shapes."""
        inputs, net = self._inputs(data.classes), self._network(data.event_shape, data.classes).eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            try:
                made = tuple(net(torch.zeros(2, inputs)).shape)
            except Exception as error:
                raise ValueError(f"generator: cannot take codes of shape [n, {inputs}]: {error}") from error
        if made != (2, *data.event_shape):
            raise ValueError(f"generator: must make {['n', *data.event_shape]}, but makes {['n', *made[1:]]}.")

    def _diagnose(self, law: Law, train: TrainingSet, held: Tensor, run: Run) -> list[str]:
        """Two signs of memorisation that samples with residuals hide: both look at bare images g(z)."""
        if not isinstance(law, LatentLaw) or len(held) < 40:
            return []
        generator = torch.Generator(run.device).manual_seed(run.derived_seed("diagnose"))
        m = min(len(held), len(law.codes), 1000)
        found, share = [], share_nearer_to_train(law, train.x, held, m, generator)
        if share > 0.7:
            found.append(
                f"{100 * share:.0f} % of bare images g(z) lie nearer to a training row than to any of as many held-out rows (50 % "
                "is fair): the generator memorises. Train for a shorter time, use a smaller latent_dim, or more data."
            )
        if self.lattice == "refresh":
            return found
        ratio = lattice_advantage(law, lattice_of(law.latent, len(law.codes), generator=generator), held[:2000])
        if ratio < 0.92:
            found.append(
                f"lattice points give better images than fresh ones: held-out rows are at {ratio:.2f} of the squared distance. The "
                "generator memorises the lattice. Use lattice='refresh', a smaller latent_dim or more data."
            )
        return found
