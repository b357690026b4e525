"""The law of source rows that move down the gradients of a sequence of critics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.errors import NotSupported
from pushforward.laws import Law, Pushforward
from pushforward.maps import Compose, GradientStep
from pushforward.solvers.newton import step_and_log_det, step_back

_DENSITY_DIM = 32  # the most numbers a row has for a density: its exact Jacobians have the square of that
_STARTS = 2048  # moved source rows among which first guesses of pre-images are looked up
_NUMBERS = 2**20  # in the rows that are moved at a time
_ESTIMATES = ("w1", "error", "congestion")


class NoSource(Law):
    """In place of a source data set that is not at hand: rows can be translated, but none can be drawn."""

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Refuse.

        Raises:
            NotSupported: always; ``translate`` is named.
        """
        raise NotSupported("sample: the model holds no rows of its source; use translate(rows).")


class CriticLaw(Pushforward):
    """The law of ``z`` from ``source`` moved by gradient steps, one after the other.

    Args:
        steps: the critics, each with the size of its step.
        source: law of ``z``: Gaussian, or a data set.
        event_shape: shape of a row.
        classes: number of classes, 1 for none.
        smooth: whether the critics are twice differentiable, so that the moved law has a density.
    """

    map: Compose
    frequencies: Tensor
    w1: Tensor
    error: Tensor
    congestion: Tensor

    def __init__(
        self,
        steps: Sequence[GradientStep],
        source: Law,
        event_shape: Sequence[int],
        *,
        classes: int = 1,
        smooth: bool = False,
    ) -> None:
        super().__init__(Compose(steps), source, event_shape)
        self.classes, self.smooth = classes, smooth
        self.register_buffer("frequencies", torch.full((classes,), 1 / classes))
        for name in _ESTIMATES:
            self.register_buffer(name, torch.zeros(len(steps), classes))

    @property
    def steps(self) -> list[GradientStep]:
        """The critics with the sizes of their steps, in the order in which rows are moved."""
        return [step for step in self.map if isinstance(step, GradientStep)]

    def add(self, critic: nn.Module, found: Mapping[str, Tensor]) -> None:
        """Take one more critic: the ``size`` of its step and ``w1``, ``error`` and ``congestion``, for each class ``[classes]``."""
        step = GradientStep(critic.requires_grad_(False).eval(), self._sizes(found["size"])).to(self.device)
        self.map = Compose([*self.steps, step])
        for name in _ESTIMATES:
            setattr(self, name, torch.cat([self.get_buffer(name), found[name][None]]))

    def again(self, size: Tensor) -> None:
        """One more step down the last critic, of another ``size`` for each class ``[classes]``."""
        last = self.steps[-1]
        last.size = torch.cat([last.size, self._sizes(size).to(self.device)])

    def _sizes(self, size: Tensor) -> Tensor:
        """Sizes ``[classes]`` of one step as ``[1]``, or ``[1, classes]`` where there are classes."""
        return size[None] if self.classes > 1 else size

    def keep(self, count: int) -> None:
        """Drop all critics but the first ones."""
        self.map = Compose(self.steps[:count])
        for name in _ESTIMATES:
            setattr(self, name, self.get_buffer(name)[:count])

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights; critics that the state does not have are dropped, and each takes as many steps as it has there."""
        sizes = [name for name in state_dict if name.startswith("map.maps.") and name.endswith(".size")]
        self.keep(len(sizes))
        for name in (*sizes, *_ESTIMATES):
            owner, _, buffer = name.rpartition(".")
            setattr(self.get_submodule(owner), buffer, torch.empty_like(state_dict[name], device=self.device))
        return super().load_state_dict(state_dict, strict, assign)

    # ------------------------------------------------------------------ abilities

    def refusal(self, ability: str) -> str:
        """Why this model lacks an ability that others of the method have."""
        from_rows = not self.source.can("log_prob")
        reasons = {
            "sample": isinstance(self.source, NoSource) and "it holds no rows of its source; use translate(rows).",
            "translate": not from_rows and "it was fitted without a source; use fit(data, source=rows).",
            "log_prob": self._without_density(from_rows),
        }
        reasons["reconstruct"] = reasons["translate"]
        return reasons.get(ability) or ""

    def remark(self) -> str:
        """How many critics there are, and what they weigh."""
        size = sum(tensor.nbytes for tensor in self.map.state_dict().values()) / 1e6
        each = size / max(len(self.steps), 1)
        return f"{len(self.steps)} critics are kept, {size:.2f} MB in all ({each:.2f} MB each), and every row passes all of them."

    def _without_density(self, from_rows: bool) -> str:
        numbers = math.prod(self.event_shape)
        if from_rows or self.classes > 1:
            return "a density needs a Gaussian source and no labels; fit without source= and condition=."
        if not self.smooth:
            return "critics with kinks give no density; use activation='silu' or 'softplus'."
        if numbers > _DENSITY_DIM:
            return f"a density needs Jacobians of its {numbers} numbers a row; the most is {_DENSITY_DIM}."
        return ""

    def can(self, ability: str) -> bool:
        """Whether this model has the ability."""
        return callable(getattr(self, ability, None)) and not self.refusal(ability)

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; with classes, labels are drawn with their frequencies."""
        if self.classes == 1:
            return push(self.steps, self.source.sample(n, generator=generator))
        labels = torch.multinomial(self.frequencies, n, replacement=True, generator=generator)
        return self.sample_given(labels, generator=generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """A row for each class number ``[n]``."""
        return push(self.steps, self.source.sample(len(labels), generator=generator), labels)

    def translate(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rows of the source ``[n, *event_shape]`` carried to the target, one for one."""
        return push(self.steps, x, labels)

    def reconstruct(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Degraded rows restored: ``translate`` where the source are degraded data."""
        return self.translate(x, labels)

    def distance(self) -> Tensor:
        """W1 from source to target as the first critic reads it: its estimate less the congestion that the penalty adds.

        At the optimum this is the flux of 2109.00528. It is 0 where no critic found a difference.
        """
        if len(self.w1) == 0:
            return self.frequencies.new_zeros(())
        return ((self.w1[0] - self.congestion[0]) * self.frequencies).sum()

    # ------------------------------------------------------------------ density

    def sample_with_log_prob(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rows ``[n, *event]``, log-densities by the formula of one pre-image ``[n]``, and which rows passed a fold ``[n]``.

        ``p_{k+1}(x - eta grad u(x)) = p_k(x) / |det(I - eta D^2 u(x))|`` where the step is one to one. A negative determinant says
        that it is not: the density there has more terms than this one.
        """
        self._require_density()
        z = self.source.sample(n, generator=generator)
        log_prob, z = self.source.log_prob(z), z.flatten(1)  # type: ignore[operator]
        folded = torch.zeros(n, dtype=torch.bool, device=z.device)
        for critic, size in self._moves():
            z, sign, log_det = step_and_log_det(_flat(critic, self.event_shape), z, size)
            log_prob, folded = log_prob - log_det, folded | (sign < 0)
        return z.reshape(n, *self.event_shape), log_prob, folded

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``[n]`` of rows, going back through every step by Newton's method; minus infinity without pre-image.

        Where a step folds, one of the pre-images is counted, the one nearest to a moved source row.
        """
        self._require_density()
        trail = self._trail()
        y, total = x.flatten(1).float(), x.new_zeros(len(x), dtype=torch.float32)
        for (critic, size), (before, after) in zip(reversed(self._moves()), reversed(trail), strict=True):
            start = before[torch.cdist(y, after).argmin(1)]
            y, log_det, solved = step_back(_flat(critic, self.event_shape), y, size, start)
            total = torch.where(solved, total - log_det, -math.inf)
        base: Tensor = self.source.log_prob(y.reshape(len(y), *self.event_shape))  # type: ignore[operator]
        return base + total

    def _trail(self) -> list[tuple[Tensor, Tensor]]:
        """Source rows before and after each step ``[m, d]``, the same at every call."""
        z = self.source.sample(_STARTS, generator=torch.Generator(self.device).manual_seed(0))
        trail = []
        for critic, size in self._moves():
            moved = push([GradientStep(critic, size)], z)
            trail.append((z.flatten(1), moved.flatten(1)))
            z = moved
        return trail

    def _moves(self) -> list[tuple[nn.Module, Tensor]]:
        """Every step with its critic and its size, where there are no classes."""
        return [(step.critic, size) for step in self.steps for size in step.size.reshape(-1)]

    def _require_density(self) -> None:
        if self.refusal("log_prob"):
            raise NotSupported(f"log_prob: {self.refusal('log_prob')}")


def push(steps: Sequence[GradientStep], x: Tensor, labels: Tensor | None = None) -> Tensor:
    """Rows ``[n, *event]`` moved by all steps, a chunk at a time; ``labels`` are class numbers ``[n]`` where there are classes."""
    chunk = max(1, _NUMBERS // max(1, math.prod(x.shape[1:])))
    moved = []
    for start in range(0, len(x), chunk):
        part, own = x[start : start + chunk], labels[start : start + chunk] if labels is not None else None
        for step in steps:
            part = step(part, own)
        moved.append(part)
    return torch.cat(moved) if moved else x


def _flat(critic: nn.Module, event_shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """The critic on rows that are flattened ``[n, d]``."""
    return lambda x: critic(x.reshape(-1, *event_shape))
