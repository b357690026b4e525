"""Maps: what carries one law onto another. Rows in, rows out; gradients flow through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn


class Map(nn.Module):
    """A map ``forward(z) -> x`` between rows of tensors.

    An invertible map also defines ``inverse_and_log_det(x) -> (z, log |det dz/dx|)``, the second of shape ``[n]``.
    """

    @property
    def invertible(self) -> bool:
        """Whether the map has ``inverse_and_log_det``."""
        return type(self).inverse_and_log_det is not Map.inverse_and_log_det

    def inverse_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse ``z`` of rows ``x`` and the log-determinant ``[n]`` of the inverse's Jacobian."""
        raise AttributeError(f"{type(self).__name__} has no inverse.")


class Network(Map):
    """Any ``nn.Module`` used as a map."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, z: Tensor) -> Tensor:
        """The module's own output."""
        out: Tensor = self.module(z)
        return out


class Compose(Map):
    """The maps one after the other, first to last."""

    def __init__(self, maps: Sequence[Map]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(maps)
        self._parts = tuple(maps)

    def __iter__(self) -> Iterator[Map]:
        yield from self._parts

    def forward(self, z: Tensor) -> Tensor:
        """Apply every map in turn."""
        for part in self:
            z = part(z)
        return z


class Flow(Compose):
    """An invertible composition: the log-determinants add up."""

    def __init__(self, maps: Sequence[Map]) -> None:
        closed = [type(part).__name__ for part in maps if not part.invertible]
        if closed:
            raise ValueError(f"maps: a flow needs invertible maps; without inverse: {', '.join(closed)}.")
        super().__init__(maps)

    def inverse_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Undo the maps, last to first: ``z`` and the summed log-determinant ``[n]``."""
        total = x.new_zeros(len(x))
        for part in reversed(list(self)):
            x, log_det = part.inverse_and_log_det(x)
            total = total + log_det
        return x, total


class Affine(Map):
    """``x = shift + z A^T`` for vectors, with an invertible square ``A`` ``[d, d]`` and ``shift`` ``[d]``."""

    matrix: Tensor
    shift: Tensor

    def __init__(self, matrix: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix", matrix)
        self.register_buffer("shift", shift)

    def forward(self, z: Tensor) -> Tensor:
        """Rows ``[n, d]`` to rows ``[n, d]``."""
        return self.shift + z @ self.matrix.T

    def inverse_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Solve for ``z``; the log-determinant is minus ``log |det A|``."""
        z = torch.linalg.solve(self.matrix, (x - self.shift).T).T
        return z, -torch.linalg.slogdet(self.matrix).logabsdet.expand(len(x))


class GradientMap(Map):
    """The gradient of a potential ``u: [n, *event] -> [n]``: Brenier's map when ``u`` is convex."""

    def __init__(self, potential: nn.Module) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, z: Tensor) -> Tensor:
        """``grad u(z)``; differentiable in the potential's parameters while gradients are enabled."""
        return _gradient(self.potential, z)


class GradientStep(Map):
    """An explicit step of size ``size`` down a critic, ``z - size * grad f(z)``, or several (Trust the Critics, 2111.15099).

    Args:
        critic: values ``[n]`` of rows ``[n, *event]``; with classes ``[n, classes]``, of which the row's own counts.
        size: of the step; of several steps ``[steps]``. With classes one for each: ``[classes]`` or ``[steps, classes]``.
    """

    size: Tensor

    def __init__(self, critic: nn.Module, size: float | Tensor) -> None:
        super().__init__()
        self.critic = critic
        self.register_buffer("size", torch.as_tensor(size, dtype=torch.float32).clone())

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rows moved against the critic's gradient; ``labels`` are class numbers ``[n]`` where there are classes."""
        sizes = self.size.reshape(-1) if labels is None else self.size.reshape(-1, self.size.shape[-1])[:, labels]
        for size in sizes.reshape(len(sizes), -1, *(1 for _ in z.shape[1:])):
            z = z - size * _gradient(lambda x: of_class(self.critic(x), labels), z)
        return z


def of_class(values: Tensor, labels: Tensor | None) -> Tensor:
    """Values ``[n]`` of the rows' own classes, out of ``[n, classes]``; as they are where there are no classes."""
    return values if labels is None else values.gather(1, labels[:, None])[:, 0]


def _gradient(potential: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """Gradient rows of ``sum potential(z)``; keeps the graph exactly when the caller has gradients enabled."""
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        z = z if z.requires_grad else z.detach().requires_grad_()
        values = potential(z)
        if values.shape != z.shape[:1]:
            raise ValueError(f"potential: expected values of shape [{len(z)}], got {list(values.shape)}.")
        (gradient,) = torch.autograd.grad(values.sum(), z, create_graph=keep)
    return gradient
