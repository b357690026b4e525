"""GraN: a GAN whose critic is normalised by the norm of its own gradient.

Bhaskara, Aumentado-Armstrong, Jepson, Levinshtein: GraN-GAN: Piecewise gradient normalization for generative adversarial networks, arXiv
2111.03162.

Model: ``x = G(z)``, ``z`` standard Gaussian. The critic is ``D(x) = K f(x) |n| / (|n|^2 + eps)`` with ``n = grad f(x)``, for a network
``f`` of piecewise linear parts: inside a piece its slope is ``K |n|^2 / (|n|^2 + eps)``, below K.

    1.  repeat until the budget is spent:
    2.      n_critic times:
    3.          x <- a batch of rows,   y <- G(z) for as many codes
    4.          f <- Adam on  mean s(-D(x)) + mean s(D(y)),   s(t) = log(1 + e^t)     (non-saturating; or hinge)
    5.      G <- Adam on  mean s(-D(G(z)))
    6.  G <- the moving average of its weights
    sample:  z ~ N(0, I),  x = G(z)

Between pieces D jumps, so it is no K-Lipschitz function and the Wasserstein loss has no bound: it is refused, and so are smooth
activations, for which the bound on the slope fails.

Departures from the paper:
    * eps 1e-6: where the laws nearly coincide, the gradients of these networks shrink to norms below 0.01. With a larger eps the
      critic is then flat and the generator runs away (docs/gans.md).
    * K 1, one step of the critic, rates 2e-3 on a cosine to zero, averaged weights of G: for short runs.
    * Networks of DCGAN's kind with group normalisation in G (any size, rows independent of their batch), and none in f.
    * With labels, G sees a one-hot vector and f has a value for each class, of which the row's is normalised.

When to use: pictures and vectors, where the tuning of a penalty is to be avoided.
When not: to estimate a Wasserstein distance; a density or codes of rows.
"""

from __future__ import annotations

from copy import deepcopy
from typing import ClassVar

import torch
from torch import nn

from pushforward import nets
from pushforward.generator_law import GeneratorLaw
from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.nets.constraints import refuse_curved, refuse_unbounded
from pushforward.objectives.adversarial import LOSSES, LossName
from pushforward.parameters import check_positive
from pushforward.run import Run
from pushforward.time_scales import ScheduleName
from pushforward.two_player import AugmentName, Game, adam, bare_critic, built, check_settings, generator_law

_BETAS = (0.0, 0.9)  # of Adam


class GraN(Method):
    """A GAN with gradient normalisation of the critic (2111.03162).

    After ``fit``: ``critic_``, with ``critic_(x)`` or ``critic_(x, labels)`` of shape ``[n]``, high on data; not saved with the model.

    Args:
        latent_dim: dimension of the codes.
        loss: ``"non_saturating"`` or ``"hinge"``; ``"wasserstein"`` is refused.
        bound: ``K``, the largest slope inside a linear piece.
        eps: keeps small gradients from being blown up.
        critic_steps: steps of the critic for one of the generator.
        critic: a piecewise linear module ``[n, *event] -> [n]`` (``[n, classes]`` with labels) to normalise; None builds one.
        width: channels (images), or half and a quarter of the hidden units of built-in critic and generator (vectors, tables).
        learning_rate: of the generator's Adam.
        critic_learning_rate: of the critic's; None is that of the generator (two time scales: 1706.08500).
        schedule: of both rates: ``"cosine"`` to zero, ``"constant"``, or the ``"power"`` laws of two time scales.
        batch_size: rows a step.
        ema_decay: of the moving average of the generator's weights that is sampled from.
        augment: ``"ada"`` changes the pictures that the critic sees, the more the more it overfits (2006.06676): for few pictures.
    """

    paper: ClassVar[Paper] = Paper(
        title="GraN-GAN: Piecewise Gradient Normalization for Generative Adversarial Networks",
        authors="Bhaskara and Aumentado-Armstrong and Jepson and Levinshtein",
        year=2021,
        arxiv="2111.03162",
    )
    kinds: ClassVar[frozenset[str]] = frozenset({"image", "table", "vector"})
    law_type: ClassVar[type[Law]] = GeneratorLaw
    only_to_fit: ClassVar[frozenset[str]] = frozenset({"critic"})

    critic_: nn.Module

    def __init__(
        self,
        *,
        latent_dim: int = 32,
        loss: LossName = "non_saturating",
        bound: float = 1.0,
        eps: float = 1e-6,
        critic_steps: int = 1,
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
        self.bound = bound
        self.eps = eps
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
        game = Game(law, critic, data, run, self, adam(_BETAS), critic_steps=self.critic_steps, values=critic)
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

    def _network(self, event_shape: tuple[int, ...], classes: int) -> nets.GradientNormalised:
        bare = bare_critic(self.critic, nets.critic, event_shape, classes, width=self.width)
        return nets.GradientNormalised(bare, bound=self.bound, eps=self.eps)

    def _build(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        return built(lambda: self._law(event_shape, classes))

    def _law(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        return generator_law(nets.gan_generator, event_shape, classes, latent_dim=self.latent_dim, width=self.width)

    def _check(self, data: TrainingSet) -> None:
        check_settings(self, data)
        check_positive(self, "bound", "eps")
        with torch.random.fork_rng(devices=[]):
            critic = self._network(data.event_shape, data.classes)  # refuses smooth layers
        if self.critic is not None:
            refuse_curved(deepcopy(self.critic).to(data.x.device), data.x[:8])
        if self.loss == "wasserstein":
            refuse_unbounded(critic)
