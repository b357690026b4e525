"""WGAN: a generator trained against a critic whose weights are clipped.

Arjovsky, Chintala, Bottou: Wasserstein GAN, arXiv 1701.07875.

Model: ``x = G(z)``, ``z`` standard Gaussian; the critic ``D`` is high on data:

    1.  repeat until the budget is spent:
    2.      n_critic times:
    3.          x <- a batch of rows,   y <- G(z) for as many codes
    4.          D <- RMSProp on  mean D(y) - mean D(x)
    5.          weights of D <- clip(weights, -c, c)
    6.      G <- RMSProp on  -mean D(G(z))
    7.  G <- the moving average of its weights
    sample:  z ~ N(0, I),  x = G(z)

Weights in a box make D Lipschitz with a constant that nobody knows, so its gap is a distance times that constant: a number to compare
within one fit, recorded as minus ``critic``, and not W1.

Departures from the paper (its values: c 0.01, n_critic 5, rates 5e-5, batches of 64):
    * Two steps of D, rates 1e-3 on a cosine to zero, and averaged weights of G: for short runs, in which the paper's rates hardly move
      the generator; benchmarks/gans.py measures both settings.
    * Networks of DCGAN's kind with group normalisation in G (any size, rows independent of their batch), and none in D.
    * With labels, G sees a one-hot vector and D has a value for each class.

When to use: to see what the later constraints are compared with.
When not: otherwise. Most clipped weights end at the bounds and D becomes too simple; take WGANGP, SNGAN or GraN.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from pushforward import nets
from pushforward.generator_law import GeneratorLaw
from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.nets.constraints import refuse_unbounded
from pushforward.objectives.adversarial import linear_generator, wasserstein_critic
from pushforward.run import Run
from pushforward.time_scales import ScheduleName
from pushforward.two_player import AugmentName, Game, bare_critic, built, check_settings, generator_law


class WGAN(Method):
    """A Wasserstein GAN with clipped weights (1701.07875).

    After ``fit``: ``critic_`` ``[n, *event_shape] -> [n]`` (``[n, classes]`` with labels), high on data; it is not saved with the model.

    Args:
        latent_dim: dimension of the codes.
        clip: bound ``c`` of the critic's weights; the paper has 0.01.
        critic_steps: steps of the critic for one of the generator; the paper has 5.
        critic: a module ``[n, *event] -> [n]`` (``[n, classes]`` with labels) without batch normalisation or dropout; None builds one.
        width: channels (images), or half and a quarter of the hidden units of built-in critic and generator (vectors, tables).
        learning_rate: of the generator's RMSProp; the paper has 5e-5.
        critic_learning_rate: of the critic's; None is that of the generator (two time scales: 1706.08500).
        schedule: of both rates: ``"cosine"`` to zero, ``"constant"``, or the ``"power"`` laws of two time scales.
        batch_size: rows a step.
        ema_decay: of the moving average of the generator's weights that is sampled from.
        augment: ``"ada"`` changes the pictures that the critic sees, the more the more it overfits (2006.06676): for few pictures.
    """

    paper: ClassVar[Paper] = Paper(
        title="Wasserstein GAN", authors="Arjovsky and Chintala and Bottou", year=2017, arxiv="1701.07875"
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = GeneratorLaw
    only_to_fit: ClassVar[frozenset[str]] = frozenset({"critic"})

    critic_: nn.Module

    def __init__(
        self,
        *,
        latent_dim: int = 32,
        clip: float = 0.01,
        critic_steps: int = 2,
        critic: nn.Module | None = None,
        width: int = 64,
        learning_rate: float = 1e-3,
        critic_learning_rate: float | None = None,
        schedule: ScheduleName = "cosine",
        batch_size: int = 64,
        ema_decay: float = 0.995,
        augment: AugmentName = "none",
    ) -> None:
        self.latent_dim = latent_dim
        self.clip = clip
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
        game = Game(law, critic, data, run, self, _rmsprop, critic_steps=self.critic_steps)
        nets.clip_weights(critic, self.clip)
        for _ in game.ticks():
            for _ in range(self.critic_steps):
                x, y, labels = game.pair()
                game.step_critic(wasserstein_critic(game.values(x, labels), game.values(y, labels)))
                nets.clip_weights(critic, self.clip)
            with game.critic_at_rest():
                game.step_generator(linear_generator(game.values(game.made(x, labels), labels)))
        self.critic_ = critic
        return game.finished()

    # ------------------------------------------------------------------ pieces

    def _network(self, event_shape: tuple[int, ...], classes: int) -> nn.Module:
        return bare_critic(self.critic, nets.critic, event_shape, classes, width=self.width)

    def _build(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        return built(lambda: self._law(event_shape, classes))

    def _law(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        return generator_law(nets.gan_generator, event_shape, classes, latent_dim=self.latent_dim, width=self.width)

    def _check(self, data: TrainingSet) -> None:
        check_settings(self, data)
        if self.critic is not None:
            refuse_unbounded(self.critic)
        if self.clip <= 0:
            raise ValueError(f"clip: must be positive, got {self.clip}; try 0.01.")


def _rmsprop(net: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(net.parameters(), rate)
