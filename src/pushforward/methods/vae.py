"""VAE: a variational autoencoder with a learned decoder variance and a mixture fitted to its codes afterwards.

Kingma, Welling: Auto-encoding variational Bayes, arXiv 1312.6114; Rybkin, Daniilidis, Levine: Simple and effective VAE training with
calibrated decoders, arXiv 2006.13202; Ghosh et al.: From variational to deterministic autoencoders, arXiv 1903.12436.

Model: ``x = g(z) + sigma e`` with ``z`` and ``e`` standard Gaussian, ``p`` numbers in ``x``. The algorithm:

    1.  repeat until the budget is spent:
    2.      x <- a batch of rows
    3.      mu, s <- encoder(x);   z <- mu + s e                              (the posterior q(z | x) = N(mu, diag s^2))
    4.      sigma^2 <- mean over batch and numbers of (x - g(z))^2            (optimal for this batch: 2006.13202)
    5.      KL <- mean over the batch of sum_j (mu_j^2 + s_j^2 - 1) / 2 - log s_j
    6.      beta <- share of the budget spent / annealing, at most 1
    7.      weights <- Adam on  (p / 2) log sigma^2 + beta KL
    8.  weights <- their moving average;   sigma^2 <- as in 4, over all rows
    9.  prior="mixture":  p(z) <- a mixture of Gaussians fitted to the means mu of all rows, or, where samples have
        the noise sigma e, to one code z as in 3 of each   (1903.12436, section 4)
    sample:  z ~ p(z)   x = g(z), and + sigma e for vectors and tables

Departures from the papers (the first two and the fourth are measured in benchmarks/baselines_digits.py):
    * Codes are drawn from the mixture of step 9 and not from the Gaussian prior, which the codes of a trained encoder do not fill.
    * Where samples have noise the mixture is fitted to draws from the posterior, which the model calls for. For images it is fitted
      to the posterior's means: that has smaller kernel and Frechet distances on digits, but samples that are smoother, and so
      lie nearer to training rows than other data do, and less recall.
    * The mixture has full covariances, as many components as held-out rows allow, and with labels components for each class.
    * Samples of images have no noise, which would be seen as grain, although the model has it: samples are too smooth instead.
    * The label goes to encoder and decoder as a one-hot vector.
    * Adam follows a cosine, gradients are clipped at norm 1, and weights are averaged: usual care, not in the papers.

When to use: an encoder is wanted (codes of new rows at the cost of a pass, interpolation, outlier scores), with fast sampling.
When not: sharp natural images, or an exact density: the evidence bound is below it.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from pushforward import nets
from pushforward.latent import in_chunks
from pushforward.laws import Gaussian, Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.mixtures import FullMixture, fitted_mixture
from pushforward.parameters import check_decay, check_positive
from pushforward.run import Run

_LEAST_VARIANCE = 1e-6  # of the decoder, on data of variance about 1
_LEAST_SHARE = 1e-3  # variance of a component of the mixture in any direction, as a share of the codes' mean variance
_DRAWS = 16  # codes for each row in an evidence bound
_FEWEST_STEPS, _MOST_STEPS = 1500, 20_000  # without a budget: 300 epochs, within these bounds


class Posterior(NamedTuple):
    """A diagonal Gaussian law of codes for each row: means and logarithms of standard deviations, both ``[n, d]``."""

    mean: Tensor
    log_scale: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """Codes for standard Gaussian ``noise`` ``[n, d]``."""
        return self.mean + self.log_scale.exp() * noise

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence ``[n]`` from the standard Gaussian."""
        return (0.5 * (self.mean.square() + (2 * self.log_scale).exp() - 1) - self.log_scale).sum(1)


class AutoencoderLaw(Law):
    """The law of ``g(z) + sigma e`` with an encoder; with classes, both networks also see the class as a one-hot vector.

    Args:
        encoder: a network from ``[n, *event_shape]`` to ``[n, features]``.
        head: a network from ``[n, features + classes]`` to means and log-scales ``[n, 2 d]``.
        decoder: a network from ``[n, d + classes]`` to ``[n, *event_shape]`` (``classes`` counts where there are two or more).
        latent_dim: ``d``.
        classes: number of classes, 1 for none.
        noise: whether samples have the noise ``sigma e``.
    """

    noise_variance: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        head: nn.Module,
        decoder: nn.Module,
        event_shape: tuple[int, ...],
        *,
        latent_dim: int,
        classes: int,
        noise: bool,
    ) -> None:
        super().__init__(event_shape)
        self.encoder, self.head, self.decoder = encoder, head, decoder
        self.classes, self.noise = classes, noise
        self.latent_shape = (latent_dim,)
        self.latent = FullMixture(latent_dim, classes)
        self.register_buffer("noise_variance", torch.ones(()))

    def posterior(self, x: Tensor, labels: Tensor | None = None) -> Posterior:
        """The law of the codes of rows ``[n, *event_shape]`` with class numbers ``[n]``."""
        out: Tensor = self.head(self._with_class(self.encoder(x), labels))
        return Posterior(*out.chunk(2, dim=1))

    @torch.no_grad()
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes ``[n, d]``: posterior means."""
        return in_chunks(lambda part, y: self.posterior(part, y).mean, x, labels)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Mean rows ``g(z)`` for codes ``[n, d]``."""
        out: Tensor = self.decoder(self._with_class(z, labels))
        return out

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        return self.sample_given(self.latent.sample_labels(n, generator=generator), generator=generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        x = self.decode(self.latent.sample_given(labels, generator=generator), labels)
        if not self.noise:
            return x
        return x + self.noise_variance.sqrt() * torch.randn(x.shape, generator=generator, device=x.device)

    @torch.no_grad()
    def evidence_bound(
        self, x: Tensor, labels: Tensor | None = None, *, generator: torch.Generator | None = None, draws: int = _DRAWS
    ) -> Tensor:
        """A lower bound ``[n]`` of the log-density of the model of training, whose codes are standard Gaussian.

        It is the mean of ``log p(x | z)`` over ``draws`` codes of the posterior, less the divergence (1312.6114, eq. 3).
        """
        generator = generator or torch.Generator(self.device).manual_seed(0)

        def bound(part: Tensor, y: Tensor | None) -> Tensor:
            misfit = torch.stack([self._misfit(part, y, generator) for _ in range(draws)]).mean(0) / self.noise_variance
            volume = part[0].numel() * torch.log(2 * math.pi * self.noise_variance)
            return -0.5 * (misfit + volume) - self.posterior(part, y).divergence()

        return in_chunks(bound, x, labels)

    @torch.no_grad()
    def draw_codes(self, x: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """A code ``[n, d]`` from the posterior of every row."""
        return in_chunks(lambda part, y: self._draw(part, y, generator), x, labels)

    @torch.no_grad()
    def misfit(self, x: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        """Squared distance ``[n]`` of rows to the image of a code that is drawn from their posterior."""
        return in_chunks(lambda part, y: self._misfit(part, y, generator), x, labels)

    def outlier_score(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Minus the evidence bound ``[n]``, with the same 16 draws at every call."""
        return -self.evidence_bound(x, labels)

    def between(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Codes on great circles from rows of ``a`` to rows of ``b``: ``[n * steps, d]``."""
        return Gaussian(self.latent_shape).between(a, b, steps)

    def _misfit(self, x: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        return (x - self.decode(self._draw(x, labels, generator), labels)).flatten(1).square().sum(1)

    def _draw(self, x: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        q = self.posterior(x, labels)
        return q.draw(torch.randn(q.mean.shape, generator=generator, device=x.device))

    def _with_class(self, rows: Tensor, labels: Tensor | None) -> Tensor:
        if self.classes == 1:
            return rows
        if labels is None:
            raise ValueError("labels: this law has classes; give a class number for every row.")
        return torch.cat([rows, nn.functional.one_hot(labels, self.classes).to(rows.dtype)], dim=1)


class VAE(Method):
    """A variational autoencoder (1312.6114) with a mixture on its codes (1903.12436).

    Args:
        latent_dim: dimension ``d`` of the codes.
        prior: what new codes are drawn from: ``"mixture"`` fitted to the codes afterwards, or the ``"gaussian"`` of the model.
        annealing: share of the budget over which the weight of the divergence rises from 0 to 1.
        noise: whether samples have the decoder's noise; None means yes for vectors and tables, no for images.
        width: channels (images) or a quarter of the hidden units (vectors, tables) of both networks.
        learning_rate: of Adam; follows a cosine to zero.
        batch_size: rows a step.
        ema_decay: of the moving average of the weights that is sampled from.
    """

    paper: ClassVar[Paper] = Paper(
        title="Auto-encoding variational Bayes", authors="Kingma and Welling", year=2013, arxiv="1312.6114"
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = AutoencoderLaw

    def __init__(
        self,
        *,
        latent_dim: int = 16,
        prior: Literal["mixture", "gaussian"] = "mixture",
        annealing: float = 0.1,
        noise: bool | None = None,
        width: int = 64,
        learning_rate: float = 2e-3,
        batch_size: int = 128,
        ema_decay: float = 0.995,
    ) -> None:
        self.latent_dim = latent_dim
        self.prior: Literal["mixture", "gaussian"] = prior
        self.annealing = annealing
        self.noise = noise
        self.width = width
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.ema_decay = ema_decay

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law = run.build("law", lambda: self._networks(data.event_shape, data.classes))
        optimizer = run.track("adam", torch.optim.Adam(law.parameters(), lr=self.learning_rate, fused=True))
        average = run.average("average", law, self.ema_decay)
        rehearsal = self.prior == "mixture" and run.timed
        epoch = max(1, len(data.x) // min(self.batch_size, len(data.x)))
        rows = run.rows(len(data.x), self.batch_size)
        for _ in run.loop(
            "train", default=f"{min(max(300 * epoch, _FEWEST_STEPS), _MOST_STEPS)} steps", steps_per_epoch=epoch
        ):
            if rehearsal and run.fraction > 0.5:
                rehearsal = self._rehearse(law, data, run)
            batch = next(rows)
            x, labels = data.x[batch], data.labels[batch] if data.labels is not None else None
            optimizer.param_groups[0]["lr"] = self.learning_rate * 0.5 * (1 + math.cos(math.pi * run.fraction))
            q = law.posterior(x, labels)
            z = q.draw(torch.randn(q.mean.shape, generator=run.generator, device=run.device))
            variance = (x - law.decode(z, labels)).square().mean().clamp_min(_LEAST_VARIANCE)
            divergence = q.divergence().mean()
            beta = min(1.0, run.fraction / self.annealing) if self.annealing else 1.0
            loss = 0.5 * variance.log() + beta * divergence / x[0].numel()
            run.step(optimizer, loss, clip=1.0, divergence=divergence, variance=variance)

        fitted = cast(AutoencoderLaw, average.module.requires_grad_(False).eval())
        fitted.noise_variance = fitted.misfit(data.x, data.labels, run.generator).mean() / data.x[0].numel()
        fitted.noise_variance = fitted.noise_variance.clamp_min(_LEAST_VARIANCE)
        self._keep_latent(fitted, data, run)
        return fitted

    def _keep_latent(self, law: AutoencoderLaw, data: TrainingSet, run: Run) -> None:
        """Step 9."""
        if self.prior == "mixture":
            law.latent = self._mixture(law, data, run)
        elif data.labels is not None:
            law.latent.weights = torch.bincount(data.labels, minlength=data.classes) / len(data.x)

    @torch.no_grad()
    def _mixture(self, law: AutoencoderLaw, data: TrainingSet, run: Run) -> FullMixture:
        """A mixture for the codes of the training rows, posterior draws where samples have noise and means where not."""

        def codes(x: Tensor, labels: Tensor | None) -> Tensor:
            q = law.posterior(x, labels)
            return (
                q.draw(torch.randn(q.mean.shape, generator=run.generator, device=run.device)) if law.noise else q.mean
            )

        with run.clock("mixture"):
            order = torch.randperm(len(data.x), generator=run.generator, device=run.device)
            z, labels = in_chunks(codes, data.x, data.labels)[order], data.labels
            floor = _LEAST_SHARE * float(z.var(0).mean())
            seed = run.derived_seed("mixture")
            found = fitted_mixture(z, labels[order] if labels is not None else None, floor=floor, seed=seed)
        return found.to(run.device)

    def _rehearse(self, law: AutoencoderLaw, data: TrainingSet, run: Run) -> bool:
        """Time the mixture, and leave that much of a wall budget for it; False, because once is enough."""
        began = run.elapsed
        self._mixture(law, data, run)
        run.reserve(1.2 * (run.elapsed - began))
        return False

    # ------------------------------------------------------------------ pieces

    def _build(self, event_shape: tuple[int, ...], classes: int) -> AutoencoderLaw:
        with torch.random.fork_rng(devices=[]):
            return self._networks(event_shape, classes)

    def _networks(self, event_shape: tuple[int, ...], classes: int) -> AutoencoderLaw:
        extra, hidden = classes if classes > 1 else 0, 4 * self.width
        return AutoencoderLaw(
            nn.Sequential(nets.encoder(event_shape, hidden, width=self.width), nn.SiLU()),
            nn.Linear(hidden + extra, 2 * self.latent_dim),
            nets.generator(self.latent_dim + extra, event_shape, width=self.width),
            event_shape,
            latent_dim=self.latent_dim,
            classes=classes,
            noise=len(event_shape) == 1 if self.noise is None else self.noise,
        )

    def _check(self, data: TrainingSet) -> None:
        check_positive(self, "latent_dim", "width", "learning_rate", "batch_size")
        if not 0 <= self.annealing <= 1:
            raise ValueError(f"annealing: must be from 0 (none) to 1 (all of the budget), got {self.annealing}.")
        check_decay(self.ema_decay)
