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

from typing import ClassVar

from torch import Tensor, nn

from pushforward import nets
from pushforward.generator_law import GeneratorLaw
from pushforward.laws import Law
from pushforward.method import Method, Paper, TrainingSet
from pushforward.objectives.adversarial import logistic_critic, non_saturating_generator
from pushforward.objectives.penalties import gradient_of, slopes
from pushforward.run import Run
from pushforward.time_scales import ScheduleName
from pushforward.two_player import AugmentName, Game, adam, built, check_settings, generator_law, own_values

_PENALTY_EVERY = 8
_BETAS = (0.0, 0.99)  # of Adam (1801.04406 has 0 and 0.99, DCGAN 0.5 and 0.999)


class GAN(Method):
    """A generative adversarial network (1406.2661), convolutional for images (1511.06434).

    After ``fit``: ``critic_``, the discriminator ``[n, *event_shape] -> [n, classes]`` (it is not saved with the model).

    Args:
        latent_dim: dimension ``d`` of the codes.
        penalty: weight ``gamma`` of the R1 penalty; 0 is the plain loss.
        width: channels (images) or a quarter of the hidden units (vectors, tables) of both networks.
        learning_rate: of the generator's Adam.
        critic_learning_rate: of the discriminator's; None is that of the generator (two time scales: 1706.08500).
        schedule: of both rates: ``"cosine"`` to zero, ``"constant"``, or the ``"power"`` laws of two time scales.
        batch_size: rows a step.
        ema_decay: of the moving average of the generator's weights that is sampled from.
        augment: ``"ada"`` changes the pictures that the critic sees, the more the more it overfits (2006.06676): for few pictures.
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
        critic_learning_rate: float | None = None,
        schedule: ScheduleName = "cosine",
        batch_size: int = 64,
        ema_decay: float = 0.995,
        augment: AugmentName = "none",
    ) -> None:
        self.latent_dim = latent_dim
        self.penalty = penalty
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
        critic = run.build("critic", lambda: nets.gan_critic(data.event_shape, data.classes, width=self.width))
        game = Game(law, critic, data, run, self, adam(_BETAS))
        for step in game.ticks():
            x, labels = game.real()
            made = game.made(x, labels)
            game.step_critic(self._critic_loss(critic, x, made.detach(), labels, penalised=step % _PENALTY_EVERY == 0))
            with game.critic_at_rest():
                game.step_generator(non_saturating_generator(own_values(critic, made, labels)))
        self.critic_ = critic
        return game.finished()

    def _critic_loss(
        self, critic: nn.Module, x: Tensor, made: Tensor, labels: Tensor | None, *, penalised: bool
    ) -> Tensor:
        """Steps 3 and 4."""
        penalised = bool(penalised and self.penalty > 0)
        x = x.requires_grad_(penalised)
        real = own_values(critic, x, labels)
        loss = logistic_critic(real, own_values(critic, made, labels))
        if not penalised:
            return loss
        return loss + 0.5 * _PENALTY_EVERY * self.penalty * slopes(gradient_of(real, x)).square().mean()

    # ------------------------------------------------------------------ pieces

    def _build(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        return built(lambda: self._law(event_shape, classes))

    def _law(self, event_shape: tuple[int, ...], classes: int) -> GeneratorLaw:
        return generator_law(nets.gan_generator, event_shape, classes, latent_dim=self.latent_dim, width=self.width)

    def _check(self, data: TrainingSet) -> None:
        check_settings(self, data)
        if self.penalty < 0:
            raise ValueError(f"penalty: must be 0 or more, got {self.penalty}.")
