"""What methods with a generator and a critic share: batches, the two optimisers with their rates, averaging, classes.

The loop itself is the method's own; a `Game` has the verbs that it is written with. With ``augment="ada"`` (2006.06676) the critic sees
changed images only, data and made ones alike, and a few training rows are kept from it, to see how much it overfits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pushforward.augmentation import AdaptiveAugmentation
from pushforward.budget import Budget
from pushforward.codes import steps_in_epoch
from pushforward.generator_law import GeneratorLaw
from pushforward.nets import check_critic
from pushforward.parameters import check_decay, check_positive
from pushforward.run import Run
from pushforward.time_scales import SCHEDULES, ScheduleName

AugmentName = Literal["none", "ada"]
EPOCHS = 600  # without a budget, in rows that the critic sees, within these bounds of the generator's steps
FEWEST_STEPS, MOST_STEPS = 3000, 40_000
KEPT_BACK = 10  # one training row of so many is kept from an augmented critic, but at least
FEWEST_KEPT = 8
_POSITIVE = ("latent_dim", "width", "learning_rate", "critic_learning_rate", "batch_size", "critic_steps")


class Settings(Protocol):
    """Arguments of a two-player method that its game reads.

    Attributes:
        learning_rate: of the generator.
        critic_learning_rate: of the critic; None is that of the generator.
        schedule: of both rates.
        batch_size: rows a step.
        ema_decay: of the moving average of the generator's weights.
        augment: of images, for the critic.
    """

    learning_rate: float
    critic_learning_rate: float | None
    schedule: ScheduleName
    batch_size: int
    ema_decay: float
    augment: AugmentName


class Rows(Protocol):
    """What is trained on: a `TrainingSet`."""

    x: Tensor
    labels: Tensor | None
    classes: int


OptimizerOf = Callable[[nn.Module, float], Optimizer]
Values = Callable[[Tensor, Tensor | None], Tensor]


def adam(betas: tuple[float, float]) -> OptimizerOf:
    """Makes an Adam for a network and a rate."""
    return lambda net, rate: torch.optim.Adam(net.parameters(), rate, betas, fused=True)


class Game:
    """Two players in one fit.

    Args:
        law: the generator's law, tracked by the run.
        critic: ``[n, *event] -> [n]`` or ``[n, classes]``, tracked by the run.
        data: training rows ``[n, *event]`` and their class numbers ``[n]``, or None.
        run: the run.
        settings: the method.
        optimizer: makes an optimiser for each player.
        critic_steps: how often the critic moves for one step of the generator.
        values: the critic's values ``[n]`` of rows and class numbers (or None); by default `own_values`.
    """

    def __init__(
        self,
        law: GeneratorLaw,
        critic: nn.Module,
        data: Rows,
        run: Run,
        settings: Settings,
        optimizer: OptimizerOf,
        *,
        critic_steps: int = 1,
        values: Values | None = None,
    ) -> None:
        x, labels = data.x, data.labels
        self.law, self.critic, self.run = law, critic, run
        self.values: Values = values or (lambda rows, own: own_values(critic, rows, own))
        self._settings, self._critic_steps, self._n = settings, critic_steps, len(x)
        if labels is not None:
            law.frequencies = torch.bincount(labels, minlength=law.classes) / len(x)
        rate, critic_rate = settings.learning_rate, settings.critic_learning_rate
        self._rates = rate, rate if critic_rate is None else critic_rate
        self._optimizers = [
            run.track(name, optimizer(net, first))
            for name, net, first in zip(("optimizer G", "optimizer D"), (law, critic), self._rates, strict=True)
        ]
        self._average = run.average("average", law.generator, settings.ema_decay)
        self._watch = self._watched(x, labels) if settings.augment == "ada" else None
        seen = self._watch.seen if self._watch else torch.arange(len(x), device=x.device)
        self._x, self._labels = x[seen], labels[seen] if labels is not None else None
        self._rows = run.rows(len(seen), settings.batch_size)

    # ------------------------------------------------------------------ the verbs of a loop

    def ticks(self) -> Iterator[int]:
        """Numbers of the generator's steps until the budget is spent; the rates follow their schedule."""
        factors = SCHEDULES[self._settings.schedule]
        for step in self.run.loop("train", default=self._default(), steps_per_epoch=self._epoch()):
            for optimizer, rate, factor in zip(
                self._optimizers, self._rates, (factors.generator, factors.critic), strict=True
            ):
                optimizer.param_groups[0]["lr"] = rate * factor(self.run.fraction, step)
            yield step
            if self._watch is not None:
                self._watch.look(self.values, self._last, self.run)

    def real(self) -> tuple[Tensor, Tensor | None]:
        """The next batch of training rows ``[m, *event]``, as the critic sees them, and their class numbers ``[m]``."""
        rows = next(self._rows)
        x, labels = self._shown(self._x[rows]), self._labels[rows] if self._labels is not None else None
        self._last = x.detach(), labels
        return x, labels

    def made(self, like: Tensor, labels: Tensor | None) -> Tensor:
        """As many rows of the generator as ``like`` has, of classes ``labels`` ``[m]``, as the critic sees them, in its graph."""
        world = self.run.world
        z = torch.randn(
            len(like) * world.size, *self.law.latent_shape, generator=self.run.generator, device=self.run.device
        )
        return self._shown(self.law.decode(z[world.rank :: world.size], labels))

    def pair(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """A batch of training rows, as many rows of the generator without its graph, and the class numbers of both."""
        x, labels = self.real()
        with torch.no_grad():
            return x, self.made(x, labels), labels

    def values_of_pair(self, x: Tensor, y: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """The critic's values ``[m]`` on two batches of the same classes, in one pass: a constraint on the weights is worked out once."""
        both = labels.repeat(2) if labels is not None else None
        real, made = self.values(torch.cat([x, y]), both).split(len(x))
        return real, made

    def step_critic(self, loss: Tensor, **metrics: Tensor) -> None:
        """A step of the critic, recorded as ``critic`` beside other numbers."""
        self.run.step(self._optimizers[1], loss, clip=math.inf, critic=loss, **metrics)

    def step_generator(self, loss: Tensor) -> None:
        """A step of the generator, recorded as ``generator``, beside the probability of a change."""
        changed = {} if self._watch is None else {"augment_p": self._watch.augmentation.p}
        self.run.step(self._optimizers[0], loss, clip=math.inf, generator=loss, **changed)

    @contextmanager
    def critic_at_rest(self) -> Iterator[None]:
        """Inside, no gradient is asked for the critic's weights."""
        self.critic.requires_grad_(False)
        try:
            yield
        finally:
            self.critic.requires_grad_(True)

    def finished(self) -> GeneratorLaw:
        """The law of the averaged generator; the critic is at rest and in evaluation mode."""
        self.law.generator = self._average.module.requires_grad_(False).eval()
        self.critic.requires_grad_(False).eval()
        return self.law

    # ------------------------------------------------------------------ pieces

    def _shown(self, x: Tensor) -> Tensor:
        return x if self._watch is None else self._watch.augmentation(x, generator=self.run.generator)

    def _epoch(self) -> int:
        """Steps of the generator in which the critic sees about every row once."""
        return max(1, steps_in_epoch(self._n, self._settings.batch_size) // self._critic_steps)

    def _default(self) -> str:
        return f"{min(max(EPOCHS * self._epoch(), FEWEST_STEPS), MOST_STEPS)} steps"

    def _watched(self, x: Tensor, labels: Tensor | None) -> _Watch:
        steps = (self.run.budget or Budget.parse(self._default())).total_steps(self._epoch())
        size = min(self._settings.batch_size, len(x) - _kept(len(x)))
        augmentation = AdaptiveAugmentation(tuple(x.shape[1:]), total_images=steps * size if steps else None)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.run.derived_seed("kept back")))
        order = _every_class_seen(order.to(x.device), labels)
        return _Watch(self.run.track("augmentation", augmentation), x, labels, order, size)


class _Watch:
    """An augmentation and the training rows kept from the critic, by which it is seen how much the critic overfits.

    Args:
        augmentation: tracked by the run.
        x: training rows ``[n, c, h, w]``.
        labels: their class numbers ``[n]``, or None.
        order: of the rows, at random ``[n]``.
        size: kept rows looked at in a step.
    """

    def __init__(
        self, augmentation: AdaptiveAugmentation, x: Tensor, labels: Tensor | None, order: Tensor, size: int
    ) -> None:
        kept = _kept(len(order))
        self.augmentation, self.seen, held = augmentation, order[kept:], order[:kept]
        self._held, self._labels, self._size = x[held], labels[held] if labels is not None else None, size

    @torch.no_grad()
    def look(self, values: Values, seen: tuple[Tensor, Tensor | None], run: Run) -> None:
        """Compare the critic's values on rows it was trained on with those on kept rows, and move the probability."""
        some = torch.randperm(len(self._held), generator=run.generator, device=run.device)[: self._size]
        held = self.augmentation(self._held[some], generator=run.generator)
        on_held = values(held, self._labels[some] if self._labels is not None else None)
        self.augmentation.observe(values(*seen), on_held, processes=run.world.size)
        run.world.average([self.augmentation.p])


def _kept(n: int) -> int:
    """How many of ``n`` training rows are kept from an augmented critic."""
    return max(FEWEST_KEPT, n // KEPT_BACK)


def _every_class_seen(order: Tensor, labels: Tensor | None) -> Tensor:
    """The order of the rows ``[n]``, changed only if all rows of a class would be kept: then one of every class comes last."""
    if labels is None or len(labels[order[_kept(len(order)) :]].unique()) == len(labels.unique()):
        return order
    place = torch.arange(len(order), device=order.device)
    last = torch.zeros_like(place).scatter_reduce(0, labels[order], place, "amax")  # of each class, then zeros
    ends = torch.zeros_like(place, dtype=torch.bool).index_fill(0, last[: int(labels.max()) + 1], True)
    return torch.cat([order[~ends], order[ends]])


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


def bare_critic(
    given: nn.Module | None, make: Callable[..., nn.Module], event_shape: tuple[int, ...], classes: int, *, width: int
) -> nn.Module:
    """A copy of the user's critic, all of which is trained, or else ``make(event_shape, width=width, classes=classes)``."""
    if given is not None:
        return deepcopy(given).requires_grad_(True).train()
    return make(event_shape, width=width, classes=classes)


def built(make: Callable[[], GeneratorLaw]) -> GeneratorLaw:
    """A law with weights still to be loaded; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        return make()


def check_settings(method: Settings, data: Rows) -> None:
    """Refuse settings that no two players can use, or that do not suit the data.

    Raises:
        ValueError: naming the argument and its value.
    """
    check_positive(method, *(name for name in _POSITIVE if hasattr(method, name)))
    check_decay(method.ema_decay)
    if method.augment == "ada":
        _check_augmented(data.x, data.classes)
    critic: nn.Module | None = getattr(method, "critic", None)
    if critic is not None:
        check_critic(critic, data.x[:2], data.classes)


def _check_augmented(x: Tensor, classes: int) -> None:
    if x.dim() != 4:
        raise ValueError(
            f"augment: 'ada' changes pictures, but these are rows of {x.shape[1]} numbers; use augment='none'."
        )
    if len(x) < 4 * FEWEST_KEPT:
        raise ValueError(
            f"augment: 'ada' keeps {FEWEST_KEPT} training pictures back and needs {4 * FEWEST_KEPT}, got {len(x)}."
        )
    if len(x) - _kept(len(x)) < classes:
        raise ValueError(
            f"augment: 'ada' keeps {_kept(len(x))} of {len(x)} training pictures back, too many for {classes} classes; use augment='none'."
        )
