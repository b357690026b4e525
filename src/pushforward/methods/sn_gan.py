"""SNGAN: a GAN whose critic has layers of spectral norm 1.

Miyato, Kataoka, Koyama, Yoshida: Spectral normalization for generative adversarial networks, arXiv 1802.05957; Miyato, Koyama: cGANs with
projection discriminator, arXiv 1802.05637.

Model: ``x = G(z)``, ``z`` standard Gaussian. In the critic ``D``, high on data, every matrix ``W`` of a layer stands as ``W / sigma(W)``:

    1.  repeat until the budget is spent:
    2.      n_dis times:
    3.          x <- a batch of rows,   y <- G(z) for as many codes
    4.          u, v of every layer <- one power iteration,   sigma = u' W v      (u, v constants, the gradient goes through sigma)
    5.          D <- Adam on  mean (1 - D(x))_+ + mean (1 + D(y))_+                (hinge; others by name)
    6.      G <- Adam on  -mean D(G(z))
    7.  G <- the moving average of its weights
    sample:  z ~ N(0, I),  x = G(z)

For a convolution W is the reshaped kernel, whose norm is not that of the convolution: D is not 1-Lipschitz, and its gap no distance.

Departures from the paper (its values: n_dis 5, rates 2e-4, batches of 64, Adam betas (0, 0.9), residual networks of 128 channels or more):
    * n_dis 2, rates 2e-3 on a cosine to zero, 32 channels, and averaged weights of G: for short runs; benchmarks/gans.py measures both.
    * Group instead of batch normalisation in G: rows independent of their batch.
    * With labels, D has the projection head of 1802.05637, and G sees a one-hot vector instead of conditional batch normalisation.
    * Vectors and tables have perceptrons in place of residual networks.

When to use: pictures, with more time than a minute.
When not: a density or codes of rows; short runs on small pictures, for which the residual networks are slow on a CPU.
"""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from pushforward import nets
from pushforward.generator_law import GeneratorLaw
from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.nets.constraints import refuse_unbounded
from pushforward.objectives.adversarial import LOSSES, LossName
from pushforward.run import Run
from pushforward.time_scales import ScheduleName
from pushforward.two_player import AugmentName, Game, adam, bare_critic, built, check_settings, generator_law

_BETAS = (0.0, 0.9)  # of Adam, the paper's


class SNGAN(Method):
    """A GAN with spectral normalisation of the critic (1802.05957), residual networks for images.

    After ``fit``: ``critic_`` ``[n, *event_shape] -> [n]`` (``[n, classes]`` with labels), high on data; it is not saved with the model.

    Args:
        latent_dim: dimension of the codes.
        loss: ``"hinge"`` (the paper's best), ``"non_saturating"`` or ``"wasserstein"``.
        critic_steps: steps of the critic for one of the generator, ``n_dis``; the paper has 5.
        critic: a module ``[n, *event] -> [n]`` (``[n, classes]`` with labels) to normalise, without batch normalisation or dropout; None
            builds one.
        width: channels (images), or half and a quarter of the hidden units of critic and generator (vectors, tables).
        learning_rate: of the generator's Adam; the paper has 2e-4.
        critic_learning_rate: of the critic's; None is that of the generator (two time scales: 1706.08500).
        schedule: of both rates: ``"cosine"`` to zero, ``"constant"``, or the ``"power"`` laws of two time scales.
        batch_size: rows a step.
        ema_decay: of the moving average of the generator's weights that is sampled from.
        augment: ``"ada"`` changes the pictures that the critic sees, the more the more it overfits (2006.06676): for few pictures.
    """

    paper: ClassVar[Paper] = Paper(
        title="Spectral Normalization for Generative Adversarial Networks",
        authors="Miyato and Kataoka and Koyama and Yoshida",
        year=2018,
        arxiv="1802.05957",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = GeneratorLaw
    only_to_fit: ClassVar[frozenset[str]] = frozenset({"critic"})

    critic_: nn.Module

    def __init__(
        self,
        *,
        latent_dim: int = 32,
        loss: LossName = "hinge",
        critic_steps: int = 2,
        critic: nn.Module | None = None,
        width: int = 32,
        learning_rate: float = 2e-3,
        critic_learning_rate: float | None = None,
        schedule: ScheduleName = "cosine",
        batch_size: int = 64,
        ema_decay: float = 0.995,
        augment: AugmentName = "none",
    ) -> None:
        self.latent_dim = latent_dim
        self.loss: LossName = loss
        self.critic_steps = critic_steps
        self.critic = critic
        self.width = width
        self.learning_rate = learning_rate
        self.critic_learning_rate = critic_learning_rate
        self.schedule: ScheduleName = schedule
        self.batch_size = batch_size
        self.ema_decay = ema_decay
        self.augment: AugmentName = augment

    # ------------------------------------------------------------------ the algorithm

    def _fit(self, data: TrainingSet, run: Run) -> Law:
        law = run.build("law", lambda: self._law(data.event_shape, data.classes))
        critic = run.build("critic", lambda: self._network(data.event_shape, data.classes))
        game = Game(law, critic, data, run, self, adam(_BETAS), critic_steps=self.critic_steps)
        loss = LOSSES[self.loss]
        for _ in game.ticks():
            for _ in range(self.critic_steps):
                x, y, labels = game.pair()
                game.step_critic(loss.critic(*game.values_of_pair(x, y, labels)))
            with game.critic_at_rest():
                game.step_generator(loss.generator(game.values(game.made(x, labels), labels)))
        self.critic_ = critic
        return game.finished()

    # ------------------------------------------------------------------ pieces

    def _network(self, event_shape: tuple[int, ...], classes: int) -> nn.Module:
        """Step 4 is in the layers."""
        bare = bare_critic(self.critic, nets.residual_critic, event_shape, classes, width=self.width)
        return nets.spectral_normalised(bare)

    def _build(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        return built(lambda: self._law(event_shape, classes))

    def _law(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        return generator_law(
            nets.residual_generator, event_shape, classes, latent_dim=self.latent_dim, width=self.width
        )

    def _check(self, data: TrainingSet) -> None:
        check_settings(self, data)
        if self.loss == "wasserstein" and self.critic is not None:
            refuse_unbounded(self.critic)
