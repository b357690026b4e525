"""Steps down a potential with their exact Jacobians, and backwards by Newton's method. For few dimensions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

_NUMBERS = 2**22  # of the Jacobians of one chunk
_ITERATIONS = 40
_CLOSE = 1e-5  # relative size of a residual that counts as solved


def gradients_and_hessians(potential: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """``grad u`` ``[n, d]`` and ``D^2 u`` ``[n, d, d]`` of a potential ``[n, d] -> [n]`` at rows ``[n, d]``."""

    def slope(row: Tensor) -> tuple[Tensor, Tensor]:
        found = grad(lambda point: potential(point[None])[0])(row)
        return found, found

    chunk = max(1, _NUMBERS // x.shape[1] ** 2)
    parts = [vmap(jacrev(slope, has_aux=True))(part) for part in x.detach().split(chunk)]
    hessians, gradients = (torch.cat(found).detach() for found in zip(*parts, strict=True))
    return gradients, hessians


def step_and_log_det(potential: Callable[[Tensor], Tensor], x: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``x - size grad u(x)`` ``[n, d]`` with the sign and ``log |det|`` ``[n]`` of its Jacobian ``I - size D^2 u``."""
    gradients, hessians = gradients_and_hessians(potential, x)
    sign, log_det = torch.linalg.slogdet(_jacobian(hessians, size))
    return x - size * gradients, sign, log_det


def step_back(
    potential: Callable[[Tensor], Tensor], y: Tensor, size: Tensor, start: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Solve ``x - size grad u(x) = y`` by damped Newton iterations.

    Args:
        potential: ``[n, d] -> [n]``, twice differentiable.
        y: rows ``[n, d]``.
        size: of the step, a number.
        start: first guesses ``[n, d]``; where there are several solutions, they decide which is found.

    Returns:
        ``x`` ``[n, d]``, ``log |det|`` ``[n]`` of the step's Jacobian there, and whether each row is solved ``[n]``.
    """
    x, pace = start.clone(), y.new_ones(len(y), 1)
    limit = _CLOSE * (1 + y.norm(dim=1))
    gradients, hessians = gradients_and_hessians(potential, x)
    for _ in range(_ITERATIONS):
        misfit = x - size * gradients - y
        if bool((misfit.norm(dim=1) <= limit).all()):
            break
        move, _ = torch.linalg.solve_ex(_jacobian(hessians, size), misfit)
        ahead = x - pace * torch.nan_to_num(move)
        new_gradients, new_hessians = gradients_and_hessians(potential, ahead)
        better = (ahead - size * new_gradients - y).norm(dim=1, keepdim=True) < misfit.norm(dim=1, keepdim=True)
        x, gradients = torch.where(better, ahead, x), torch.where(better, new_gradients, gradients)
        hessians = torch.where(better[..., None], new_hessians, hessians)
        pace = torch.where(better, (2 * pace).clamp_max(1.0), pace / 4)
    solved = (x - size * gradients - y).norm(dim=1) <= limit
    return x, torch.linalg.slogdet(_jacobian(hessians, size)).logabsdet, solved


def _jacobian(hessians: Tensor, size: Tensor) -> Tensor:
    return torch.eye(hessians.shape[-1], dtype=hessians.dtype, device=hessians.device) - size * hessians
