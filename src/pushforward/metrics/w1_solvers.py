"""Solvers for the Wasserstein-1 benchmark (2206.07767, section 3): each learns the distance of a `RayPairs` from samples alone.

A solver is a function of pairs and a `Training`; it returns what `w1_benchmark` judges. ``x`` are rows of P, ``y`` of Q, independent
of each other; a critic ``f`` is high on P. Conjugates are ``f^c(y) = max_x f(x) - |x - y|``. Of the settings of the paper the
penalty (10), the box of clipped weights (0.04), eps (0.01) and the optimisers' betas are kept, learning rates are larger and
fall to zero, since runs are forty times shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim import Adam

from pushforward.metrics.monotone_pairs import RayPairs
from pushforward.metrics.w1_board import CriticSlopes, Slopes, W1Board, W1Score, judge
from pushforward.nets.constraints import sorting_critic, spectral_normalised
from pushforward.nets.critics import mlp_critic
from pushforward.nets.layers import mlp
from pushforward.objectives.critics import dual_gap, dual_terms
from pushforward.objectives.penalties import interpolates, one_sided_penalty, slopes, two_sided_penalty
from pushforward.solvers.assignment import assign_cost

_PENALTY, _BOX, _EPS = 10.0, 0.04, 0.01  # 2206.07767
_SORTING_SPEED = 10.0  # orthogonal matrices of unit norm move slowly
_MOVER_STEPS = 4  # for each step of the critic
_BLOCK = 1024  # rows of one exact assignment


@dataclass(frozen=True)
class Training:
    """How a solver trains.

    Attributes:
        steps: steps of the critic.
        batch: rows of P and of Q a step.
        rate: first learning rate; it falls linearly to zero.
        seed: of weights and batches.
    """

    steps: int = 1500
    batch: int = 256
    rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be positive, got {getattr(self, name)}.")


Loss = Callable[[Tensor, Tensor], Tensor]


def clipped(pairs: RayPairs, how: Training) -> Slopes:
    """Matrices clipped to [-0.04, 0.04] after every step (1701.07875); biases stay free (2206.07767).

    Clipped biases would keep the kinks near the origin: a weaker critic whose gradients look better than the published ones.
    """
    f = _critic(pairs, how)
    matrices = [layer for layer in f.modules() if isinstance(layer, nn.Linear)]

    def clip() -> None:
        with torch.no_grad():
            for layer in matrices:
                layer.weight.clamp_(-_BOX, _BOX)

    clip()
    _train(f.parameters(), lambda x, y: -_gap(f, x, y), pairs, how, after=clip)
    return CriticSlopes(f)


def two_sided(pairs: RayPairs, how: Training) -> Slopes:
    """Gradient penalty of WGAN-GP (1704.00028)."""
    return _penalised(pairs, how, two_sided_penalty)


def one_sided(pairs: RayPairs, how: Training) -> Slopes:
    """One-sided ("Lipschitz") penalty (1709.08894)."""
    return _penalised(pairs, how, one_sided_penalty)


def spectral(pairs: RayPairs, how: Training) -> Slopes:
    """Spectral normalisation (1802.05957), with the gradient through the singular value."""
    f = _seeded(lambda: spectral_normalised(_critic(pairs, how)), how)
    _train(f.parameters(), lambda x, y: -_gap(f, x, y), pairs, how)
    return CriticSlopes(f.eval())


def sorting(pairs: RayPairs, how: Training) -> Slopes:
    """Orthogonal layers and sorted activations (1811.05381)."""
    f = _seeded(lambda: sorting_critic((pairs.dim,), _widths(pairs)), how)
    _train(f.parameters(), lambda x, y: -_gap(f, x, y), pairs, how, betas=(0.9, 0.999), speed=_SORTING_SPEED)
    return CriticSlopes(f)


def regularised(pairs: RayPairs, how: Training) -> Slopes:
    """Large-scale OT (1711.02283): two potentials, and a quadratic penalty on ``f(x) + g(y) > |x - y|``."""
    f, g = _critic(pairs, how), _critic(pairs, how, "second")

    def loss(x: Tensor, y: Tensor) -> Tensor:
        on_x, on_y = f(x), g(y)
        excess = (on_x[:, None] + on_y[None] - torch.cdist(x, y)).clamp_min(0)
        value: Tensor = excess.square().mean() / (4 * _EPS) - on_x.mean() - on_y.mean()
        return value

    _train([*f.parameters(), *g.parameters()], loss, pairs, how, betas=(0.9, 0.999))
    return CriticSlopes(f)


def batch_conjugate(pairs: RayPairs, how: Training) -> Slopes:
    """The conjugate of f taken within the batch (2206.07767, MM:B)."""
    f = _critic(pairs, how)

    def loss(x: Tensor, y: Tensor) -> Tensor:
        on_x = f(x)
        value: Tensor = (on_x[:, None] - torch.cdist(x, y)).amax(0).mean() - on_x.mean()
        return value

    _train(f.parameters(), loss, pairs, how, betas=(0.9, 0.999))
    return CriticSlopes(f)


def mover(pairs: RayPairs, how: Training) -> Slopes:
    """The conjugate of f by a network that moves Q (2206.07767, MM)."""
    f, move = _critic(pairs, how), _mover(pairs, how)
    _alternate(f, move, pairs, how, backwards=True)
    return CriticSlopes(f)


def reversed_mover(pairs: RayPairs, how: Training) -> Slopes:
    """As `mover`, but the network moves P, and its direction is the gradient (2206.07767, MM:R)."""
    f, move = _critic(pairs, how), _mover(pairs, how)
    _alternate(f, move, pairs, how, backwards=False)
    return MoverSlopes(f, move)


def discrete(pairs: RayPairs, how: Training) -> Slopes:
    """Exact transport between batches (2206.07767, DOT)."""
    return DiscreteSlopes(pairs, how.seed)


SOLVERS: dict[str, Callable[[RayPairs, Training], Slopes]] = {
    "clipping": clipped,
    "GP": two_sided,
    "LP": one_sided,
    "SN": spectral,
    "SO": sorting,
    "LS": regularised,
    "MM": mover,
    "MM:R": reversed_mover,
    "MM:B": batch_conjugate,
    "discrete OT": discrete,
}


def w1_table(
    solvers: Mapping[str, Callable[[RayPairs, Training], Slopes]],
    problems: Sequence[RayPairs],
    how: Training,
    *,
    progress: Callable[[str, int], None] = lambda name, seed: None,
) -> W1Board:
    """Train every solver on every problem, number ``k`` with the seed ``how.seed + k``, and judge it."""
    scores: dict[str, list[W1Score]] = {name: [] for name in solvers}
    for name, solve in solvers.items():
        for k, pairs in enumerate(problems):
            progress(name, how.seed + k)
            scores[name].append(judge(solve(pairs, replace(how, seed=how.seed + k)), pairs, seed=k))
    return W1Board(scores)


def named(names: Sequence[str]) -> dict[str, Callable[[RayPairs, Training], Slopes]]:
    """The solvers of these names.

    Raises:
        ValueError: there is none of that name.
    """
    unknown = [name for name in names if name not in SOLVERS]
    if unknown:
        raise ValueError(f"solvers: there is no {unknown[0]!r}. Solvers: {', '.join(SOLVERS)}.")
    return {name: SOLVERS[name] for name in names}


@dataclass(frozen=True)
class MoverSlopes:
    """A map T that moves P to Q and a potential f on Q that was its opponent."""

    critic: nn.Module
    move: nn.Module

    @torch.no_grad()
    def slope(self, x: Tensor) -> Tensor:
        """``(x - T(x)) / |x - T(x)|``."""
        return nn.functional.normalize(x - self.move(x), dim=1)

    @torch.no_grad()
    def distance(self, x: Tensor, y: Tensor) -> float:
        """``E |x - T(x)| + f(T(x)) - E f(y)``."""
        moved = self.move(x)
        return float((x - moved).norm(dim=1).mean() + dual_gap(self.critic(moved), self.critic(y)))


@dataclass(frozen=True)
class DiscreteSlopes:
    """The assignment of rows of P to fresh rows of Q, in blocks."""

    pairs: RayPairs
    seed: int

    def slope(self, x: Tensor) -> Tensor:
        """The directions of the partners of rows ``[n, d]``."""
        generator = torch.Generator(x.device).manual_seed(self.seed)
        fresh = self.pairs.sample(len(x), generator=generator)[1].to(x)
        return torch.cat([nn.functional.normalize(p - q, dim=1) for p, q in _partners(x, fresh)])

    def distance(self, x: Tensor, y: Tensor) -> float:
        """Mean cost of the assignment; rows of Q are shuffled first, since those given may be the true partners."""
        generator = torch.Generator(y.device).manual_seed(self.seed)
        shuffled = y[torch.randperm(len(y), generator=generator, device=y.device)]
        return float(torch.cat([(p - q).norm(dim=1) for p, q in _partners(x, shuffled)]).mean())


# ---------------------------------------------------------------------- what they share


def _partners(x: Tensor, y: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """Blocks of rows of both ``[n, d]``, assigned to each other at the least total distance."""
    for p, q in zip(x.split(_BLOCK), y.split(_BLOCK), strict=True):
        yield p, q[assign_cost(torch.cdist(p, q)).permutation]


def _penalised(pairs: RayPairs, how: Training, penalty: Callable[[Tensor], Tensor]) -> Slopes:
    f = _critic(pairs, how)
    generator = torch.Generator(pairs.centres.device).manual_seed(how.seed + 1_000_003)  # not the stream of the batches

    def loss(x: Tensor, y: Tensor) -> Tensor:
        gap, gradient = dual_terms(f, x, y, interpolates(x, y, generator=generator))
        return _PENALTY * penalty(slopes(gradient)) - gap

    _train(f.parameters(), loss, pairs, how)
    return CriticSlopes(f)


def _alternate(f: nn.Module, move: nn.Module, pairs: RayPairs, how: Training, *, backwards: bool) -> None:
    """The saddle point of ``E_P f - E_Q [f(T y) - |y - T y|]``, or forwards of ``E_P [|x - T x| + f(T x)] - E_Q f``."""
    players = Adam(move.parameters(), how.rate, betas=(0.0, 0.9))

    def moves(z: Tensor) -> Tensor:
        moved = move(z)
        sign = -1 if backwards else 1
        value: Tensor = (z - moved).norm(dim=1).mean() + sign * f(moved).mean()
        return value

    def loss(x: Tensor, y: Tensor) -> Tensor:
        z, still = (y, x) if backwards else (x, y)
        f.requires_grad_(False)
        for _ in range(_MOVER_STEPS):
            players.zero_grad()
            moves(z).backward()
            players.step()
        f.requires_grad_(True)
        with torch.no_grad():
            moved = move(z)
        gap = dual_gap(f(moved), f(still))
        return gap if backwards else -gap

    _train(f.parameters(), loss, pairs, how, also=players)


def _train(
    parameters: Iterable[nn.Parameter],
    loss: Loss,
    pairs: RayPairs,
    how: Training,
    *,
    betas: tuple[float, float] = (0.0, 0.9),
    after: Callable[[], None] = lambda: None,
    also: Adam | None = None,
    speed: float = 1.0,
) -> None:
    """Adam on the loss of fresh batches, with a falling rate (of the optimiser ``also`` as well), ``speed`` times that asked for."""
    rate = speed * how.rate
    adam = Adam(parameters, rate, betas=betas)
    generator = torch.Generator(pairs.centres.device).manual_seed(how.seed)
    for step in range(how.steps):
        for player in (adam, *([also] if also is not None else [])):
            player.param_groups[0]["lr"] = rate * (1 - step / how.steps)
        x, y = (z.float() for z in pairs.sample(2 * how.batch, generator=generator))
        value = loss(x[: how.batch], y[how.batch :])
        adam.zero_grad()
        value.backward()
        adam.step()
        after()


def _gap(f: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    values: Tensor = f(torch.cat([x, y]))
    return dual_gap(values[: len(x)], values[len(x) :])


def _widths(pairs: RayPairs) -> tuple[int, int]:
    """Two hidden layers (2206.07767)."""
    return (max(2 * pairs.dim, 128),) * 2


def _critic(pairs: RayPairs, how: Training, name: str = "first") -> nn.Module:
    return _seeded(lambda: mlp_critic((pairs.dim,), _widths(pairs), activation=nn.ReLU), how, name).to(
        pairs.centres.device
    )


def _mover(pairs: RayPairs, how: Training) -> nn.Module:
    net = _seeded(lambda: mlp(pairs.dim, _widths(pairs), pairs.dim, activation=nn.ReLU), how, "mover")
    return net.to(pairs.centres.device)


def _seeded(make: Callable[[], nn.Module], how: Training, name: str = "first") -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed + 7919 * sum(name.encode()))
        return make()
