"""The law of a walk on the training rows, one latent step and a decoder; and the walk itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from pushforward import nets
from pushforward.latent import in_chunks
from pushforward.laws import Law
from pushforward.residuals import Residuals
from pushforward.solvers.neighbours import nearest_neighbours

WalkKind = Literal["anchored", "single", "network"]
KINDS: tuple[str, ...] = get_args(WalkKind)
_DRAWS = 64  # codes for each pair in a transition density


class IndexWalk(nn.Module):
    """A Markov chain on ``0 .. n-1`` with sparse transition probabilities.

    Attributes:
        columns: where a step may go ``[m]``, row after row.
        running: running sums of the probabilities ``[m]``, float64, that reach ``i + 1`` at the end of row ``i``
            (`solvers.bistochastic.walk_table`).
    """

    columns: Tensor
    running: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("columns", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("running", torch.ones(1, dtype=torch.float64))

    def step(self, index: Tensor, generator: torch.Generator | None = None, labels: Tensor | None = None) -> Tensor:
        """One step from each of ``index`` ``[k]``; with ``labels`` ``[n]``, steps to another label are refused.

        Refusing keeps a symmetric chain symmetric, so that within a label all rows are still visited equally often.
        """
        u = torch.rand(index.shape, generator=generator, device=index.device, dtype=torch.float64)
        place = torch.searchsorted(self.running, index + u, right=True)
        found = self.columns[place.clamp_max(len(self.columns) - 1)]
        return found if labels is None else torch.where(labels[found] == labels[index], found, index)

    def move(
        self, index: Tensor, steps: int, generator: torch.Generator | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Where ``steps`` steps lead from each of ``index`` ``[k]``."""
        for _ in range(steps):
            index = self.step(index, generator, labels)
        return index


class CholeskyHead(nn.Module):
    """A lower triangular factor ``[n, d, d]`` with positive diagonal for codes ``[n, d]``, on the scale ``[d]`` of a local step."""

    scale: Tensor

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.net = nets.mlp(dim, (hidden, hidden), dim * (dim + 1) // 2)
        self.dim = dim
        self.register_buffer("scale", torch.ones(dim))

    def forward(self, z: Tensor) -> Tensor:
        """The factor ``L`` of the covariance ``L L'``."""
        out: Tensor = self.net(z)
        below, logs = out.split([out.shape[1] - self.dim, self.dim], dim=1)
        factor = torch.diag_embed(logs.exp())
        rows, columns = torch.tril_indices(self.dim, self.dim, -1, device=z.device)
        factor[:, rows, columns] = below
        return self.scale[:, None] * factor


class DiffusionLaw(Law):
    """The law of ``D(z') + r(z')`` with ``z' = psi_i + L(psi_i) e`` for a row number ``i`` from a walk on the training rows.

    It holds the diffusion coordinates of the training rows and the walk between them, not the rows.

    Args:
        encoder: a network ``psi`` from ``[n, *event_shape]`` to ``[n, d]``.
        factor: a network ``L`` from ``[n, d]`` to ``[n, d, d]``.
        decoder: a network ``D`` from ``[n, d]`` to ``[n, *event_shape]``.
        event_shape: shape of a row.
        latent_dim: ``d``.
        kind: the walk of samples.
        steps: its length.
        residuals: the law of ``r``, what the decoder leaves out.

    Attributes:
        codes: diffusion coordinates ``[n, d]`` of the training rows; ``code_labels`` ``[n]`` and ``rows`` ``[n]`` belong to them.
        spectrum: the eigenvalues ``[d]`` of the walk that the coordinates come from.
        second_eigenvalue: of the doubly stochastic ``walk``.
        bandwidth: ``eps`` of the kernel; ``parts``: connected parts of the graph before they were joined.
        noise_variance: ``s^2`` of the decoder, per number, in the Gaussian model that it is trained as.
    """

    codes: Tensor
    code_labels: Tensor
    rows: Tensor
    noise_variance: Tensor
    spectrum: Tensor
    second_eigenvalue: Tensor
    bandwidth: Tensor
    parts: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        factor: nn.Module,
        decoder: nn.Module,
        event_shape: tuple[int, ...],
        *,
        latent_dim: int,
        kind: WalkKind,
        steps: int,
        residuals: Residuals,
    ) -> None:
        super().__init__(event_shape)
        self.encoder, self.factor, self.decoder = encoder, factor, decoder
        self.latent_shape = (latent_dim,)
        self.kind, self.steps, self.residuals = kind, steps, residuals
        self.walk = IndexWalk()
        self.register_buffer("codes", torch.zeros(1, latent_dim))
        self.register_buffer("code_labels", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("noise_variance", torch.ones(()))
        self.register_buffer("rows", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("spectrum", torch.ones(latent_dim))
        for name in ("second_eigenvalue", "bandwidth", "parts"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def draw(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """One latent step of the walk: codes ``[n, d]`` from ``N(z, L(z) L(z)')``."""
        noise = torch.randn(z.shape, generator=generator, device=z.device)
        return z + torch.einsum("nij,nj->ni", self.factor(z), noise)

    @torch.no_grad()
    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Diffusion coordinates ``[n, d]`` of rows, by the network."""
        return in_chunks(lambda part, _: cast(Tensor, self.encoder(part)), x, None)

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """Rows ``[n, *event_shape]`` for codes ``[n, d]``."""
        out: Tensor = self.decoder(z)
        return out

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows, each from a walk of its own."""
        start = torch.randint(len(self.codes), (n,), generator=generator, device=self.device)
        return self._rows(_WALKS[self.kind](self, start, self.steps, None, generator), None, generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``, by walks that stay in the class."""
        order, counts = self.code_labels.argsort(), torch.bincount(self.code_labels, minlength=int(labels.max()) + 1)
        share = torch.rand(labels.shape, generator=generator, device=self.device)
        start = order[(counts.cumsum(0) - counts)[labels] + (share * counts[labels]).long()]
        return self._rows(_WALKS[self.kind](self, start, self.steps, self.code_labels, generator), labels, generator)

    @torch.no_grad()
    def path(self, start: Tensor, steps: int, kind: WalkKind, *, generator: torch.Generator | None = None) -> Tensor:
        """Walks from training rows number ``start`` ``[c]``: ``[steps + 1, c, *event_shape]``, without residuals."""
        if kind == "network":
            return self._network_path(start, steps, generator)
        index = [start]
        for _ in range(steps):
            index.append(self.walk.step(index[-1], generator) if kind == "anchored" else start)
        z = self.draw(self.codes[torch.cat(index)], generator)
        made = in_chunks(lambda part, _: self.decode(part), z, None)
        return made.reshape(steps + 1, len(start), *self.event_shape)

    def _network_path(self, start: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
        """Decode, encode, step, and so on."""
        found = [self.decode(self.draw(self.codes[start], generator))]
        for _ in range(steps):
            found.append(self.decode(self.draw(self.encode(found[-1]), generator)))
        return torch.stack(found)

    @torch.no_grad()
    def transition_log_prob(self, x_next: Tensor, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Log-density ``[n]`` of a step from rows ``x`` to rows ``x_next``, both ``[n, *event_shape]``.

        The mean of ``N(x_next; D(z'), s^2)`` over 64 draws of ``z'`` given ``x``: its logarithm errs downwards where draws are few.
        """
        generator = generator or torch.Generator(self.device).manual_seed(0)
        z, p = self.encode(x), x[0].numel()
        draws = (self.decode(self.draw(z, generator)) - x_next for _ in range(_DRAWS))
        misfit = torch.stack([gap.flatten(1).square().sum(1) for gap in draws]) / self.noise_variance
        volume = p * torch.log(2 * math.pi * self.noise_variance)
        return torch.logsumexp(-0.5 * (misfit + volume), 0) - math.log(_DRAWS)

    def between(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Codes from rows of ``a`` to rows of ``b``, ``[n * steps, d]``: a straight line, each inner point of it moved to the
        mean of the four nearest training codes, because the line itself leaves a curved manifold.
        """
        t = torch.linspace(0, 1, steps, device=a.device)[None, :, None]
        line = ((1 - t) * a[:, None] + t * b[:, None]).flatten(0, 1)
        index, _ = nearest_neighbours(self.codes, min(4, len(self.codes)), queries=line)
        inner = ((t > 0) & (t < 1)).expand(len(a), steps, 1).flatten(0, 1)
        return torch.where(inner, self.codes[index].mean(1), line)

    def take(self, found: Mapping[str, Tensor], labels: Tensor | None) -> None:
        """Adopt the values of the spectral stage, by the names of the buffers."""
        self.walk.columns, self.walk.running = found["columns"], found["running"]
        for name in ("codes", "rows", "spectrum", "second_eigenvalue", "bandwidth", "parts"):
            setattr(self, name, found[name])
        if labels is not None:
            self.code_labels = labels

    def _rows(self, z: Tensor, labels: Tensor | None, generator: torch.Generator | None) -> Tensor:
        """Rows ``[n, *event_shape]`` with residuals for codes ``[n, d]`` and class numbers ``[n]``."""
        mean = self.decode(z)
        drawn: Tensor = self.residuals(z, labels, generator, mean)
        return mean + drawn


def _anchored(
    law: DiffusionLaw, index: Tensor, steps: int, labels: Tensor | None, generator: torch.Generator | None
) -> Tensor:
    """Move on the training rows, then one latent step: codes ``[n, d]``."""
    return law.draw(law.codes[law.walk.move(index, steps, generator, labels)], generator)


def _single(
    law: DiffusionLaw, index: Tensor, steps: int, labels: Tensor | None, generator: torch.Generator | None
) -> Tensor:
    """One latent step."""
    return _anchored(law, index, 0, labels, generator)


def _network(
    law: DiffusionLaw, index: Tensor, steps: int, labels: Tensor | None, generator: torch.Generator | None
) -> Tensor:
    """Latent step, decoder, encoder, and so on: the paper's walk."""
    z = _anchored(law, index, 0, labels, generator)
    for _ in range(steps):
        z = law.draw(law.encode(law.decode(z)), generator)
    return z


_Walk = Callable[[DiffusionLaw, Tensor, int, "Tensor | None", "torch.Generator | None"], Tensor]
_WALKS: dict[str, _Walk] = {"anchored": _anchored, "single": _single, "network": _network}
