"""VDAE: a variational network that learns one step of the random walk on the data manifold, and its inverse.

Li, Lindenbaum, Cheng, Cloninger: Variational diffusion autoencoders with random walk sampling, arXiv 1905.12724 (ECCV 2020). Two other
things have like names: the Delta-VAE on a manifold chosen by the user (Perez Rey), and score models with an encoder (Batzolis).

No prior is chosen: diffusion maps find the shape of the data, and the latent space is theirs. The algorithm:

    1.  psi_1 .. psi_n        diffusion coordinates of the rows    (solvers/spectral.py: sparse, alpha-normalised)
    2.  P                     the doubly stochastic walk on the same kernel        (solvers/bistochastic.py)
    3.  C_i                   (1/k) sum_j (psi_j - psi_i)(psi_j - psi_i)',   j the k neighbours of i
    4.  repeat:  psi_theta <- Adam on  |psi_theta(x_i) - psi_i|^2                       (stage "embed")
    5.  repeat:                                                                      (stage "walk")
    6.      i <- a batch of rows;   z' <- psi_i + L_phi(psi_i) e          (q(z'|x) = N(psi(x), L_phi L_phi'))
    7.      J <- the k rows nearest to z' in diffusion space
    8.      s^2 <- mean over i, j in J(i) and numbers of (x_j - D(z'))^2
    9.      weights <- Adam on  (p / 2) log s^2 + KL(q(z'|x_i) || N(psi_i, C_i))       (minus the bound of log p(x'|x))
    10. r <- x_i - D(psi_i)  near a code: mean of a group of rows, shrunk, and a random combination of deviations   (residuals.py)
    sample, walk="anchored":  i ~ uniform, moved by P;  z' = psi_i + L_phi(psi_i) e;  x = D(z') + r(z')
            walk="single":    the same without the moves
            walk="network":   between, repeat  z' ~ q(. | D(z'))                                        (the paper)

Departures from the paper and its code (benchmarks/vdae.py measures the first and the second):
    * The anchored walk is the default. The stationary law of the paper's walk is not that of the data, and long walks leave the
      manifold; the walk by P visits all rows equally often, exactly.
    * Samples have residuals (step 10). The paper's are means over neighbours, which have the shape of the data and none of its
      variety; its Gaussian noise would be grain in pictures.
    * Diffusion coordinates from the sparse eigenproblem, with density normalisation and without the trivial coordinate, and a network
      fitted to them, instead of SpectralNet: exact, and in seconds.
    * C_i is centred and averaged. The released code takes a sum of squares about the origin, which points away from a circle.
    * The true divergence (a trace) instead of a sum of singular values, which is larger; 16 neighbours instead of 2.
    * A Cholesky factor from the diffusion coordinates instead of eigenvectors by QR; the decoder's variance s^2 is learned.
    * Adam on a cosine and averaged weights: usual care, not in the paper.

When to use: data on a manifold whose shape matters (loops, spheres, motion, views) and is not known; walks through the data.
When not: novelty matters. A sample is one small step and some neighbours' residuals away from a training row (docs/vdae.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from pushforward import nets
from pushforward.codes import cosine, steps_in_epoch
from pushforward.data import load_data
from pushforward.latent import in_chunks
from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.objectives.same_mean import same_mean_divergence
from pushforward.parameters import check_decay, check_ranges
from pushforward.residuals import CentredResiduals, GaussianResiduals, Residuals
from pushforward.run import Run, checked_seed
from pushforward.solvers.bistochastic import bistochastic, mixing_steps, second_eigenvalue, walk_table
from pushforward.solvers.by_class import drawn_rows
from pushforward.solvers.local_covariance import local_covariance
from pushforward.solvers.neighbours import nearest_neighbours
from pushforward.solvers.spectral import diffusion_map
from pushforward.walks import KINDS, CholeskyHead, DiffusionLaw

NOISES: dict[str, Callable[[], Residuals]] = {
    "local": lambda: CentredResiduals(6),  # of 4 to 16: benchmarks/vdae.py residuals
    "gaussian": GaussianResiduals,
    "none": Residuals,
}
_EMBED_SHARE = 0.3  # of the budget that the spectral stage leaves, for step 4
_SPECTRAL_SHARE = 0.25  # of a wall budget, at most, for the neighbours of step 1
_PROBE = 1000  # rows whose neighbours are timed for that
_CANDIDATES = 4  # times k: the rows among which step 7 looks, the nearest ones to psi_i
_CHUNK = 1 << 23  # numbers of neighbouring rows held at a time
_RESIDUAL_NUMBERS = 1 << 24  # kept for step 10 (64 MB): of rows drawn at random where there are more
_LEAST_VARIANCE = 1e-6  # of the decoder, on data of variance about 1
_FEWEST_STEPS, _MOST_STEPS = 2000, 20_000  # without a budget: 300 epochs, within these bounds


class VDAE(Method):
    """Diffusion maps with a variational step of the walk and its decoder (1905.12724).

    Args:
        latent_dim: number of diffusion coordinates (the paper takes 3 to 10).
        neighbours: of a row in the graph of step 1; fewer where there are not so many rows.
        local: neighbours ``k`` of steps 3 and 7; the paper's code takes 2.
        bandwidth: ``eps`` of the kernel ``exp(-|x - y|^2 / 4 eps)``, on encoded rows; None chooses it.
        alpha: power of the density that is divided out of the kernel: 1 for the geometry alone.
        walk: of samples: ``"anchored"`` (on the training rows, by a doubly stochastic walk), ``"single"`` (one step from a training
            row) or ``"network"`` (the paper's: decode, encode, step). Started from all rows alike, the first two have one law.
        walk_steps: length of a sample's walk.
        noise: residual added to samples: ``"local"`` (those of six neighbouring rows combined), ``"gaussian"`` (with the residuals'
            own spread in every coordinate) or ``"none"`` (the paper): means, nearer to the manifold than the data.
        landmarks: most rows that are used, drawn at random; the spectral stage takes time of the square of their number, and a wall
            budget lowers it to what fits into a quarter of it.
        width: channels (images) or a quarter of the hidden units of the networks.
        learning_rate: of Adam; follows a cosine to zero in both stages.
        batch_size: rows a step.
        ema_decay: of the moving average of the weights that is used.
    """

    paper: ClassVar[Paper] = Paper(
        title="Variational diffusion autoencoders with random walk sampling",
        authors="Li and Lindenbaum and Cheng and Cloninger",
        year=2019,
        arxiv="1905.12724",
        venue="ECCV 2020",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = DiffusionLaw

    def __init__(
        self,
        *,
        latent_dim: int = 10,
        neighbours: int = 64,
        local: int = 16,
        bandwidth: float | None = None,
        alpha: float = 1.0,
        walk: Literal["anchored", "single", "network"] = "anchored",
        walk_steps: int = 20,
        noise: Literal["local", "gaussian", "none"] = "local",
        landmarks: int = 20_000,
        width: int = 64,
        learning_rate: float = 2e-3,
        batch_size: int = 128,
        ema_decay: float = 0.995,
    ) -> None:
        self.latent_dim = latent_dim
        self.neighbours = neighbours
        self.local = local
        self.bandwidth = bandwidth
        self.alpha = alpha
        self.walk: Literal["anchored", "single", "network"] = walk
        self.walk_steps = walk_steps
        self.noise: Literal["local", "gaussian", "none"] = noise
        self.landmarks = landmarks
        self.width = width
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.ema_decay = ema_decay

    @property
    def codes_(self) -> Tensor:
        """Diffusion coordinates ``[n, latent_dim]`` of the training rows, those of ``landmark_rows_``."""
        self._require("encode")
        return self.law_.get_buffer("codes")

    @property
    def landmark_rows_(self) -> np.ndarray:
        """Row numbers ``[n]`` in the data of the training rows that were used (all of them up to ``landmarks``)."""
        self._require("encode")
        rows: np.ndarray = self.train_rows_[self.law_.get_buffer("rows").cpu().numpy()]
        return rows

    @property
    def spectrum_(self) -> Tensor:
        """Eigenvalues ``[latent_dim]`` of the walk on the data, without the trivial 1."""
        self._require("encode")
        return self.law_.get_buffer("spectrum")

    def mixing_steps(self) -> int:
        """Steps after which an anchored walk has forgotten where it began: ``ln 20 / (1 - w_2)`` of its own kernel."""
        self._require("sample")
        return mixing_steps(float(self.law_.get_buffer("second_eigenvalue")))

    def walk_from(
        self,
        row: int = 0,
        *,
        steps: int = 31,
        kind: Literal["anchored", "single", "network"] = "anchored",
        seed: int = 0,
    ) -> Any:
        """A walk from one training row: ``steps + 1`` rows in the kind of the data, in order. They are means, without residuals.

        Args:
            row: which of ``landmark_rows_`` to begin at.
            steps: length of the walk.
            kind: ``"anchored"``, ``"network"`` (the paper's) or ``"single"``, which stays where it began.
            seed: equal seeds give equal walks.

        Raises:
            ValueError: an argument is out of range.
        """
        self._require("decode")
        law = cast(DiffusionLaw, self.law_)
        if kind not in KINDS:
            raise ValueError(f"kind: must be one of {', '.join(KINDS)}, got {kind!r}.")
        if not (_is_whole(row, len(law.codes) - 1) and _is_whole(steps, 10**9)):
            raise ValueError(
                f"row, steps: whole numbers from 0 to {len(law.codes) - 1}, and from 0 on, are needed; got {row!r}, {steps!r}."
            )
        generator = torch.Generator(law.device).manual_seed(checked_seed(seed))
        start = torch.tensor([row], device=law.device)
        path = law.path(start, steps, kind, generator=generator)[:, 0]
        return self._decoded(path, None if self.condition_ is None else law.code_labels[start].expand(len(path)))

    def transition_log_prob(self, data_next: object, data: object) -> np.ndarray:
        """Log-density ``[n]`` of one step of the walk from each row of ``data`` to that of ``data_next``, on the encoded scale.

        A Monte-Carlo value: see `DiffusionLaw.transition_log_prob`.
        """
        self._require("decode")
        x_next, x = self.schema_.encode(load_data(data_next).values), self.schema_.encode(load_data(data).values)
        if len(x_next) != len(x):
            raise ValueError(f"data_next: as many rows as in data are needed, got {len(x_next)} for {len(x)}.")
        law = cast(DiffusionLaw, self.law_)
        return law.transition_log_prob(x_next.to(law.device), x.to(law.device)).cpu().numpy()

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        found = run.value("spectral", lambda: self._diffuse(data, run))
        x, codes, near = data.x[found["rows"]], found["codes"], found["near"]
        prior = run.value("covariance", lambda: _factors(codes, near[:, : self._local(len(codes))]))
        law = self._build(data.event_shape, data.classes).to(run.device)
        labels = data.labels[found["rows"]] if data.labels is not None else None
        law.take(found, labels)
        began = float(found["begun"])  # more than 0 with a wall budget only
        until = began + _EMBED_SHARE * (1 - began)
        law.encoder = self._embedding(x, codes, began, until, run)
        step = run.build("step", lambda: self._step_networks(data.event_shape))
        step["factor"].scale = prior.square().sum(2).median(0).values.sqrt()  # of C_ii over rows
        optimizer = run.track("walk adam", torch.optim.Adam(step.parameters(), lr=self.learning_rate, fused=True))
        average = run.average("walk average", step, self.ema_decay)
        rows, p = run.rows(len(x), self.batch_size), x[0].numel()
        epoch = steps_in_epoch(len(x), self.batch_size)
        self._reserve_the_end(step["decoder"], codes, run)
        for _ in run.loop("walk", default=self._default(len(x)), steps_per_epoch=epoch):
            optimizer.param_groups[0]["lr"] = self.learning_rate * cosine((run.fraction - until) / (1 - until))
            i = next(rows)
            factor = step["factor"](codes[i])
            z = codes[i] + torch.einsum(
                "nij,nj->ni", factor, torch.randn(codes[i].shape, generator=run.generator, device=x.device)
            )
            misfit = self._misfit(step["decoder"](z), z, i, x, codes, near)
            divergence = same_mean_divergence(factor, prior[i]).mean()
            run.step(optimizer, 0.5 * misfit.log() + divergence / p, misfit=misfit, divergence=divergence)

        learned = average.module.requires_grad_(False).eval()
        law.factor, law.decoder = learned.get_submodule("factor"), learned.get_submodule("decoder")
        law.noise_variance = self._noise_variance(law, x, near, run)
        self._keep_residuals(law, x, labels, run)
        return law

    def _diffuse(self, data: TrainingSet, run: Run) -> dict[str, Tensor]:
        """Steps 1 and 2, and the rows near each row in diffusion space."""
        most = max(self._affordable(data.x, run), data.classes)
        rows = drawn_rows(len(data.x), most, data.labels, run.generator, data.x.device)
        run.note(f"spectral stage: neighbours and diffusion map of {len(rows):,} rows")
        neighbours = min(self.neighbours, len(rows) - 1)
        found = diffusion_map(
            data.x[rows].flatten(1),
            self.latent_dim,
            neighbours=neighbours,
            bandwidth=self.bandwidth,
            alpha=self.alpha,
            disconnected="join",
        )
        walk = bistochastic(found.kernel)
        columns, running = walk_table(walk)
        codes = found.coordinates.float()
        numbers = {
            "second_eigenvalue": second_eigenvalue(walk),
            "bandwidth": found.bandwidth,
            "parts": float(found.parts),
            "begun": min(run.fraction, 0.9),
        }
        return {
            "rows": rows,
            "codes": codes,
            "near": nearest_neighbours(codes, min(_CANDIDATES * self.local, len(rows) - 1))[0],
            "spectrum": found.eigenvalues,
            "columns": torch.from_numpy(columns),
            "running": torch.from_numpy(running),
            **{name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()},
        }

    def _affordable(self, x: Tensor, run: Run) -> int:
        """How many rows to use: at most ``landmarks``, and what a wall budget allows."""
        most = min(len(x), self.landmarks)
        seconds = run.budget.seconds if run.budget is not None else None
        if seconds is None or most <= _PROBE:
            return most
        began = run.elapsed
        nearest_neighbours(x[:_PROBE].flatten(1), min(self.neighbours, _PROBE - 1))
        fits = int(_PROBE * math.sqrt(_SPECTRAL_SHARE * seconds / max(run.elapsed - began, 1e-6)))
        return int(run.world.agree(torch.tensor(min(most, max(_PROBE, fits)), device=x.device)))

    def _embedding(self, x: Tensor, codes: Tensor, began: float, until: float, run: Run) -> nn.Module:
        """Step 4."""
        net = run.build("encoder", lambda: nets.encoder(x.shape[1:], self.latent_dim, width=self.width))
        optimizer = run.track("embed adam", torch.optim.Adam(net.parameters(), lr=self.learning_rate, fused=True))
        average = run.average("embed average", net, self.ema_decay)
        rows, epoch = run.rows(len(x), self.batch_size), steps_in_epoch(len(x), self.batch_size)
        for _ in run.loop("embed", default=self._default(len(x)), steps_per_epoch=epoch, until=until):
            optimizer.param_groups[0]["lr"] = self.learning_rate * cosine((run.fraction - began) / (until - began))
            i = next(rows)
            run.step(optimizer, (net(x[i]) - codes[i]).square().mean())
        return average.module.requires_grad_(False).eval()

    def _misfit(self, made: Tensor, z: Tensor, i: Tensor, x: Tensor, codes: Tensor, near: Tensor) -> Tensor:
        """Steps 7 and 8: mean squared distance of ``made`` ``[b, *event]`` to the rows nearest to their codes ``z`` ``[b, d]``."""
        offered = torch.cat([i[:, None], near[i]], dim=1)
        squared = (codes[offered] - z.detach()[:, None]).square().sum(2)
        nearest = offered.gather(1, squared.topk(self._local(len(x)), dim=1, largest=False).indices)
        return (x[nearest] - made[:, None]).square().mean().clamp_min(_LEAST_VARIANCE)

    @torch.no_grad()
    def _noise_variance(self, law: DiffusionLaw, x: Tensor, near: Tensor, run: Run) -> Tensor:
        """``s^2`` of step 8 over all rows."""
        parts = torch.arange(len(x), device=x.device).split(max(1, _CHUNK // (self._local(len(x)) * x[0].numel())))
        drawn = ((i, law.draw(law.codes[i], run.generator)) for i in parts)
        sums = [len(i) * self._misfit(law.decode(z), z, i, x, law.codes, near) for i, z in drawn]
        return torch.stack(sums).sum() / len(x)

    @torch.no_grad()
    def _keep_residuals(self, law: DiffusionLaw, x: Tensor, labels: Tensor | None, run: Run) -> None:
        """Step 10."""
        most = max(100, int(law.code_labels.max()) + 1, _RESIDUAL_NUMBERS // x[0].numel())
        kept = drawn_rows(len(x), most, labels, run.generator, x.device)
        left = x[kept] - in_chunks(law.decode, law.codes[kept], None)
        law.residuals.fit(law.codes[kept], left, run.generator, labels[kept] if labels is not None else None)

    @torch.no_grad()
    def _reserve_the_end(self, decoder: nn.Module, codes: Tensor, run: Run) -> None:
        """Leave as much of a wall budget as the decoder's two last passes over the rows take."""
        if run.timed:
            began, part = run.elapsed, codes[: self.batch_size]
            decoder(part)
            run.reserve(2.5 * (run.elapsed - began) * len(codes) / len(part))

    # ------------------------------------------------------------------ pieces

    def _build(self, event_shape: tuple[int, ...], classes: int) -> DiffusionLaw:
        with torch.random.fork_rng(devices=[]):
            step = self._step_networks(event_shape)
            return DiffusionLaw(
                nets.encoder(event_shape, self.latent_dim, width=self.width),
                step["factor"],
                step["decoder"],
                event_shape,
                latent_dim=self.latent_dim,
                kind=self.walk,
                steps=self.walk_steps,
                residuals=NOISES[self.noise](),
            )

    def _step_networks(self, event_shape: tuple[int, ...]) -> nn.ModuleDict:
        factor = CholeskyHead(self.latent_dim, 4 * self.width)
        return nn.ModuleDict(
            {"factor": factor, "decoder": nets.generator(self.latent_dim, event_shape, width=self.width)}
        )

    def _local(self, n: int) -> int:
        return min(self.local, n - 1)

    def _default(self, n: int) -> str:
        """The budget where none is given."""
        return f"{min(max(300 * steps_in_epoch(n, self.batch_size), _FEWEST_STEPS), _MOST_STEPS)} steps"

    def _diagnose(self, law: Law, train: TrainingSet, held: Tensor, run: Run) -> list[str]:
        parts = int(cast(DiffusionLaw, law).parts)
        if parts == 1:
            return []
        return [
            f"the neighbour graph of the data has {parts} parts; each was joined to its nearest one by a single edge. Walks cross "
            "such an edge rarely. Samples are not affected; more neighbours may connect the parts."
        ]

    def _check(self, data: TrainingSet) -> None:
        n = min(len(data.x), self.landmarks)
        ranges: dict[str, tuple[float, float]] = {"latent_dim": (1, n - 2)}
        ranges |= dict.fromkeys(("neighbours", "local", "width"), (1, 10**6))
        ranges |= dict.fromkeys(("landmarks", "batch_size"), (1, 10**9))
        check_ranges(self, ranges, f" for {n} rows")
        if self.walk_steps < 0 or self.learning_rate <= 0:
            raise ValueError(
                f"walk_steps, learning_rate: must be at least 0 and positive, got {self.walk_steps}, {self.learning_rate}."
            )
        if self.landmarks < data.classes:
            raise ValueError(f"landmarks: one row of each of {data.classes} classes is needed, got {self.landmarks}.")
        check_decay(self.ema_decay)


def _is_whole(value: object, most: int) -> bool:
    """Whether a value is a whole number from 0 to ``most``."""
    return not isinstance(value, bool) and isinstance(value, Integral) and 0 <= int(value) <= most


def _factors(codes: Tensor, near: Tensor) -> Tensor:
    """Step 3: Cholesky factors ``[n, d, d]`` of the local covariances of codes ``[n, d]``."""
    factors: Tensor = torch.linalg.cholesky(local_covariance(codes.double(), near))
    return factors.float()
