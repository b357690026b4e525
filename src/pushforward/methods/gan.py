"""GAN: a generator trained against a discriminator, with the non-saturating loss.

Goodfellow et al.: Generative adversarial nets, arXiv 1406.2661; Radford, Metz, Chintala: Unsupervised representation learning with deep
convolutional generative adversarial networks (DCGAN), arXiv 1511.06434; Mescheder, Geiger, Nowozin: Which training methods for GANs
do actually converge?, arXiv 1801.04406.

Model: ``x = G(z)`` with ``z`` standard Gaussian; ``D(x)`` is the log-odds that ``x`` is data. With ``s(t) = log(1 + e^t)``:

    1.  repeat until the budget is spent:
    2.      x <- a batch of rows,   z <- as many codes
    3.      L_D <- mean of s(-D(x)) + s(D(G(z)))
    4.      every 8th step:  L_D <- L_D + 8 (gamma / 2) mean of |grad_x D(x)|^2          (R1: 1801.04406, eq. 9)
    5.      weights of D <- Adam on L_D
    6.      weights of G <- Adam on the mean of s(-D(G(z)))                              (non-saturating)
    7.  weights of G <- their moving average
    sample:  z ~ N(0, I),  x = G(z)

Departures from DCGAN:
    * The penalty of step 4, on every 8th step only (a lazy penalty: StyleGAN2, 1912.04958). It costs little and steadies the play;
      benchmarks/baselines_digits.py measures both.
    * Group normalisation in G and none in D, instead of batch normalisation, which makes the output for one row depend on the
      others of its batch; grids are padded and cropped, so that images may have any size.
    * Adam with betas (0, 0.99), as in 1801.04406, and a learning rate of 0.001 instead of (0.5, 0.999) and 0.0002: for the short
      runs that small data allow.
    * With labels, G sees a one-hot vector and D has an output for each class, of which the row's counts (as in 1801.04406).
    * Adam follows a cosine; the weights of G are averaged.

When to use: as the adversarial baseline, or for sharp samples where some missing variety does no harm.
When not: a density, codes of rows, or small data: the discriminator then knows the training rows by heart.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from pushforward import nets
from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.run import Run

_PENALTY_EVERY = 8
_BETAS = (0.0, 0.99)  # of Adam (1801.04406 has 0 and 0.99, DCGAN 0.5 and 0.999)
_FEWEST_STEPS, _MOST_STEPS = 3000, 40_000  # without a budget: 600 epochs, within these bounds


class GeneratorLaw(Law):
    """The law of ``G(z)``, ``z`` standard Gaussian; with classes, ``G`` also sees the class as a one-hot vector.

    Args:
        generator: a network from ``[n, d + classes]`` (``[n, d]`` without classes) to ``[n, *event_shape]``.
        latent_dim: ``d``.
        classes: number of classes, 1 for none.
    """

    frequencies: Tensor

    def __init__(self, generator: nn.Module, event_shape: tuple[int, ...], *, latent_dim: int, classes: int) -> None:
        super().__init__(event_shape)
        self.generator, self.classes = generator, classes
        self.latent_shape = (latent_dim,)
        self.register_buffer("frequencies", torch.full((classes,), 1 / classes))

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rows ``G(z)`` for codes ``[n, d]`` and class numbers ``[n]``."""
        if self.classes > 1:
            if labels is None:
                raise ValueError("labels: this law has classes; give a class number for every row.")
            z = torch.cat([z, one_hot(labels, self.classes).to(z.dtype)], dim=1)
        out: Tensor = self.generator(z)
        return out

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        return self.sample_given(torch.multinomial(self.frequencies, n, True, generator=generator), generator=generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        z = torch.randn(len(labels), *self.latent_shape, generator=generator, device=self.device)
        return self.decode(z, labels)


class GAN(Method):
    """A generative adversarial network (1406.2661), convolutional for images (1511.06434).

    After ``fit``: ``critic_``, the discriminator ``[n, *event_shape] -> [n, classes]`` (it is not saved with the model).

    Args:
        latent_dim: dimension ``d`` of the codes.
        penalty: weight ``gamma`` of the R1 penalty; 0 is the plain loss.
        width: channels (images) or a quarter of the hidden units (vectors, tables) of both networks.
        learning_rate: of both Adams; follows a cosine to zero.
        batch_size: rows a step.
        ema_decay: of the moving average of the generator's weights that is sampled from.
    """

    paper: ClassVar[Paper] = Paper(
        title="Generative adversarial nets",
        authors="Goodfellow and Pouget-Abadie and Mirza and Xu and Warde-Farley and Ozair and Courville and Bengio",
        year=2014,
        arxiv="1406.2661",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = GeneratorLaw

    critic_: nn.Module

    def __init__(
        self,
        *,
        latent_dim: int = 32,
        penalty: float = 1.0,
        width: int = 64,
        learning_rate: float = 1e-3,
        batch_size: int = 64,
        ema_decay: float = 0.995,
    ) -> None:
        self.latent_dim = latent_dim
        self.penalty = penalty
        self.width = width
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.ema_decay = ema_decay

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law = run.build("law", lambda: self._law(data.event_shape, data.classes))
        critic = run.build("critic", lambda: nets.gan_critic(data.event_shape, data.classes, width=self.width))
        players = [run.track(name, self._adam(net)) for name, net in (("adam G", law), ("adam D", critic))]
        average = run.average("average", law.generator, self.ema_decay)

        epoch = max(1, len(data.x) // min(self.batch_size, len(data.x)))
        rows = run.rows(len(data.x), self.batch_size)
        fooling = torch.zeros((), device=run.device)
        for step in run.loop(
            "train", default=f"{min(max(600 * epoch, _FEWEST_STEPS), _MOST_STEPS)} steps", steps_per_epoch=epoch
        ):
            for player in players:
                player.param_groups[0]["lr"] = self.learning_rate * 0.5 * (1 + math.cos(math.pi * run.fraction))
            batch = next(rows)
            x, labels = data.x[batch], data.labels[batch] if data.labels is not None else None
            made = law.decode(torch.randn(len(x), self.latent_dim, generator=run.generator, device=run.device), labels)
            loss = self._critic_loss(critic, x, made.detach(), labels, penalised=step % _PENALTY_EVERY == 0)
            run.step(players[1], loss, critic=loss, generator=fooling)
            critic.requires_grad_(False)
            fooling = softplus(-_log_odds(critic, made, labels)).mean()
            run.step(players[0], fooling, critic=loss, generator=fooling)
            critic.requires_grad_(True)

        law.generator = average.module.requires_grad_(False).eval()
        if data.labels is not None:
            law.frequencies = torch.bincount(data.labels, minlength=data.classes) / len(data.x)
        self.critic_ = critic.requires_grad_(False).eval()
        return law

    def _critic_loss(
        self, critic: nn.Module, x: Tensor, made: Tensor, labels: Tensor | None, *, penalised: bool
    ) -> Tensor:
        """Steps 3 and 4."""
        penalised = penalised and self.penalty > 0
        x = x.requires_grad_(penalised)
        real = _log_odds(critic, x, labels)
        loss = softplus(-real).mean() + softplus(_log_odds(critic, made, labels)).mean()
        if not penalised:
            return loss
        (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
        return loss + 0.5 * _PENALTY_EVERY * self.penalty * slope.flatten(1).square().sum(1).mean()

    # ------------------------------------------------------------------ pieces

    def _adam(self, net: nn.Module) -> torch.optim.Adam:
        return torch.optim.Adam(net.parameters(), lr=self.learning_rate, betas=_BETAS, fused=True)

    def _build(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        with torch.random.fork_rng(devices=[]):
            return self._law(event_shape, classes)

    def _law(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        inputs = self.latent_dim + (classes if classes > 1 else 0)
        network = nets.gan_generator(inputs, event_shape, width=self.width)
        return GeneratorLaw(network, event_shape, latent_dim=self.latent_dim, classes=classes)

    def _check(self, data: TrainingSet) -> None:
        for name in ("latent_dim", "width", "learning_rate", "batch_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be positive, got {getattr(self, name)}.")
        if self.penalty < 0:
            raise ValueError(f"penalty: must be 0 or more, got {self.penalty}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: must be in [0, 1), got {self.ema_decay}; try 0.995.")


def _log_odds(critic: nn.Module, x: Tensor, labels: Tensor | None) -> Tensor:
    """Log-odds ``[n]`` that rows are data, in the output of their class where there are classes."""
    out: Tensor = critic(x)
    return out[:, 0] if labels is None else out.gather(1, labels[:, None])[:, 0]
