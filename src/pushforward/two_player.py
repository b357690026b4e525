"""What methods with a generator and a critic share: batches, the two optimisers with their rates, averaging, classes.

The loop itself is the method's own; a `Game` has the verbs that it is written with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pushforward.codes import steps_in_epoch
from pushforward.generator_law import GeneratorLaw
from pushforward.run import Run
from pushforward.time_scales import SCHEDULES, ScheduleName

EPOCHS = 600  # without a budget, in rows that the critic sees, within these bounds of the generator's steps
FEWEST_STEPS, MOST_STEPS = 3000, 40_000
_POSITIVE = ("latent_dim", "width", "learning_rate", "critic_learning_rate", "batch_size", "critic_steps")


class Settings(Protocol):
    """Arguments of a two-player method that its game reads.

    Attributes:
        learning_rate: of the generator.
        critic_learning_rate: of the critic; None is that of the generator.
        schedule: of both rates.
        batch_size: rows a step.
        ema_decay: of the moving average of the generator's weights.
    """

    learning_rate: float
    critic_learning_rate: float | None
    schedule: ScheduleName
    batch_size: int
    ema_decay: float


OptimizerOf = Callable[[nn.Module, float], Optimizer]


def adam(betas: tuple[float, float]) -> OptimizerOf:
    """Makes an Adam for a network and a rate."""
    return lambda net, rate: torch.optim.Adam(net.parameters(), rate, betas, fused=True)


class Game:
    """Two players in one fit.

    Args:
        law: the generator's law, tracked by the run.
        critic: ``[n, *event] -> [n]`` or ``[n, classes]``, tracked by the run.
        x: training rows ``[n, *event]``.
        labels: their class numbers ``[n]``, or None.
        run: the run.
        settings: the method.
        optimizer: makes an optimiser for each player.
        critic_steps: how often the critic moves for one step of the generator.
    """

    def __init__(
        self,
        law: GeneratorLaw,
        critic: nn.Module,
        x: Tensor,
        labels: Tensor | None,
        run: Run,
        settings: Settings,
        optimizer: OptimizerOf,
        *,
        critic_steps: int = 1,
    ) -> None:
        self.law, self.critic, self.run = law, critic, run
        self._x, self._labels, self._settings, self._critic_steps = x, labels, settings, critic_steps
        rate, critic_rate = settings.learning_rate, settings.critic_learning_rate
        self._rates = rate, rate if critic_rate is None else critic_rate
        self._optimizers = [
            run.track(name, optimizer(net, first))
            for name, net, first in zip(("optimizer G", "optimizer D"), (law, critic), self._rates, strict=True)
        ]
        self._average = run.average("average", law.generator, settings.ema_decay)
        self._rows = run.rows(len(x), settings.batch_size)
        self._latest: dict[str, Tensor | float] = {}
        run.track("game", self)

    # ------------------------------------------------------------------ the verbs of a loop

    def ticks(self) -> Iterator[int]:
        """Numbers of the generator's steps until the budget is spent; the rates follow their schedule."""
        settings, factors = self._settings, SCHEDULES[self._settings.schedule]
        epoch = max(1, steps_in_epoch(len(self._x), settings.batch_size) // self._critic_steps)
        default = f"{min(max(EPOCHS * epoch, FEWEST_STEPS), MOST_STEPS)} steps"
        for step in self.run.loop("train", default=default, steps_per_epoch=epoch):
            for optimizer, rate, factor in zip(
                self._optimizers, self._rates, (factors.generator, factors.critic), strict=True
            ):
                optimizer.param_groups[0]["lr"] = rate * factor(self.run.fraction, step)
            yield step

    def real(self) -> tuple[Tensor, Tensor | None]:
        """The next batch of training rows ``[m, *event]`` and their class numbers ``[m]``."""
        rows = next(self._rows)
        return self._x[rows], self._labels[rows] if self._labels is not None else None

    def made(self, like: Tensor, labels: Tensor | None) -> Tensor:
        """As many rows of the generator as ``like`` has, of classes ``labels`` ``[m]``, in the generator's graph."""
        world = self.run.world
        z = torch.randn(
            len(like) * world.size, *self.law.latent_shape, generator=self.run.generator, device=self.run.device
        )
        return self.law.decode(z[world.rank :: world.size], labels)

    def pair(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """A batch of training rows, as many rows of the generator without its graph, and the class numbers of both."""
        x, labels = self.real()
        with torch.no_grad():
            return x, self.made(x, labels), labels

    def step_critic(self, loss: Tensor, **metrics: Tensor) -> None:
        """A step of the critic, recorded as ``critic`` beside other numbers."""
        self.run.step(self._optimizers[1], loss, clip=math.inf, **self._told(critic=loss, **metrics))

    def step_generator(self, loss: Tensor) -> None:
        """A step of the generator, recorded as ``generator``."""
        self.run.step(self._optimizers[0], loss, clip=math.inf, **self._told(generator=loss))

    @contextmanager
    def critic_at_rest(self) -> Iterator[None]:
        """Inside, no gradient is asked for the critic's weights."""
        self.critic.requires_grad_(False)
        try:
            yield
        finally:
            self.critic.requires_grad_(True)

    def finished(self) -> GeneratorLaw:
        """The law of the averaged generator, with the classes' frequencies; the critic is at rest and in evaluation mode."""
        self.law.generator = self._average.module.requires_grad_(False).eval()
        if self._labels is not None:
            self.law.frequencies = torch.bincount(self._labels, minlength=self.law.classes) / len(self._x)
        self.critic.requires_grad_(False).eval()
        return self.law

    # ------------------------------------------------------------------ the last numbers, which every record has

    def _told(self, **metrics: Tensor) -> dict[str, Tensor | float]:
        """The latest value of each number: a mean over the steps of a record then weighs both players' alike."""
        self._latest |= {name: value.detach() for name, value in metrics.items()}
        return self._latest

    def state_dict(self) -> dict[str, Any]:
        """The latest numbers."""
        return {name: float(value) for name, value in self._latest.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the latest numbers over."""
        self._latest = dict(state)


def own_values(critic: Callable[[Tensor], Tensor], x: Tensor, labels: Tensor | None) -> Tensor:
    """Values ``[n]`` of rows ``[n, *event]``; those of their classes, where the critic gives ``[n, classes]``.

    Raises:
        ValueError: the critic gives another shape.
    """
    values = critic(x)
    if labels is not None and values.dim() == 2 and len(values) == len(labels):
        return values.gather(1, labels[:, None])[:, 0]
    if values.shape not in (x.shape[:1], (len(x), 1)):
        raise ValueError(f"critic: one value a row, shape [{len(x)}], is needed, got {list(values.shape)}.")
    return values.reshape(-1)


def valued(critic: nn.Module, labels: Tensor | None) -> Callable[[Tensor], Tensor]:
    """The critic's values on several batches at once, stacked, that have the same class numbers ``labels`` ``[n]``."""
    return lambda x: own_values(critic, x, labels.repeat(len(x) // len(labels)) if labels is not None else None)


# ------------------------------------------------------------------ making and checking


def generator_law(
    make: Callable[..., nn.Module], event_shape: tuple[int, ...], classes: int, *, latent_dim: int, width: int
) -> GeneratorLaw:
    """The law of a generator ``make(inputs, event_shape, width=width)`` with random weights."""
    network = make(latent_dim + (classes if classes > 1 else 0), event_shape, width=width)
    return GeneratorLaw(network, event_shape, latent_dim=latent_dim, classes=classes)


def built(make: Callable[[], GeneratorLaw]) -> GeneratorLaw:
    """A law with weights still to be loaded; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        return make()


def check_settings(method: object) -> None:
    """Refuse settings that no two players can use.

    Raises:
        ValueError: naming the argument and its value.
    """
    for name in _POSITIVE:
        value = getattr(method, name, None)
        if value is not None and value <= 0:
            raise ValueError(f"{name}: must be positive, got {value}.")
    decay = getattr(method, "ema_decay", 0.0)
    if not 0 <= decay < 1:
        raise ValueError(f"ema_decay: must be in [0, 1), got {decay}; try 0.995.")


def check_critic(critic: nn.Module | None, x: Tensor, classes: int) -> None:
    """Refuse a user's critic that does not give one value a row (one for each class).

    Raises:
        ValueError: naming the shape that is needed, and that which came.
    """
    if critic is None:
        return
    with torch.no_grad():
        found = list(deepcopy(critic).to(x.device).eval()(x[:2]).shape)
    wanted = [2] if classes == 1 else [2, classes]
    if found != wanted:
        raise ValueError(f"critic: for two rows values of shape {wanted} are needed, got {found}.")
