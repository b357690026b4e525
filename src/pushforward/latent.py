"""Latent-variable laws: a generator network on a known latent law, with codes found by optimisation instead of an encoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pushforward.laws import Law, UnitLaw
from pushforward.residuals import Residuals, nearest_rows, same_class

_CHUNK = 2048


class LatentLaw(Law):
    """The law of ``D(g(z) + e(z))``; with classes, ``g`` also sees the class as a one-hot vector.

    Args:
        generator: network ``g`` from ``[n, d + classes]`` (``[n, d]`` without classes) to the inputs of the decoder.
        latent: law of ``z``.
        residuals: law of ``e`` given ``z`` (and the class).
        event_shape: shape of a row.
        classes: number of classes, 1 for none.
        decoder: network ``D`` to ``[n, *event_shape]``; None where ``g`` makes the rows themselves.
    """

    codes: Tensor
    code_labels: Tensor
    noise_variance: Tensor

    def __init__(
        self,
        generator: nn.Module,
        latent: UnitLaw,
        residuals: Residuals,
        event_shape: tuple[int, ...],
        classes: int,
        decoder: nn.Module | None = None,
    ) -> None:
        super().__init__(event_shape)
        self.generator, self.latent, self.residuals, self.classes = generator, latent, residuals, classes
        self.decoder = decoder if decoder is not None else nn.Identity()
        self.register_buffer("codes", torch.zeros(1, *latent.event_shape))
        self.register_buffer("code_labels", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("noise_variance", torch.ones(()))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one code."""
        return self.latent.event_shape

    def head(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """What the decoder sees, ``g(z)``, for codes ``[n, d]`` and class numbers ``[n]``."""
        out: Tensor = self.generator(self._inputs(z, labels))
        return out

    def decode(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The row without residual ``D(g(z))``, ``[n, *event_shape]``, of codes ``[n, d]`` and class numbers ``[n]``."""
        out: Tensor = self.decoder(self.head(z, labels))
        return out

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw ``n`` rows; classes come with their training frequencies."""
        if self.classes == 1:
            return self._sample(n, None, generator)
        rows = torch.randint(len(self.code_labels), (n,), generator=generator, device=self.device)
        return self._sample(n, self.code_labels[rows], generator)

    def sample_given(self, labels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw one row for every class number in ``labels`` ``[n]``."""
        return self._sample(len(labels), labels, generator)

    def encode(self, x: Tensor, labels: Tensor | None = None, *, steps: int = 60) -> Tensor:
        """Codes ``[n, d]``: that of the nearest training image, improved by ``steps`` of Adam towards the posterior mode."""
        return torch.cat([self._mode(*part, steps) for part in self._parts(x, labels)])

    def outlier_score(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """``|x - g(z)|^2 / s^2`` plus the latent law's energy, at the posterior mode ``z``: ``[n]``.

        ``s^2`` is the mean squared residual of the training rows at their assigned codes. Only the order of scores means
        something: compare with the scores of held-out rows.
        """
        return torch.cat([self._energy(*part, self._mode(*part, 60)).detach() for part in self._parts(x, labels)])

    def between(self, a: Tensor, b: Tensor, steps: int) -> Tensor:
        """Codes on the way from ``a`` to ``b``, inside the latent law's support: ``[n * steps, d]``."""
        return self.latent.between(a, b, steps)

    def _inputs(self, z: Tensor, labels: Tensor | None) -> Tensor:
        if self.classes == 1:
            return z
        if labels is None:
            raise ValueError("labels: this law has classes; give a class number for every row.")
        return torch.cat([z, nn.functional.one_hot(labels, self.classes).to(z.dtype)], dim=1)

    def _sample(self, n: int, labels: Tensor | None, generator: torch.Generator | None) -> Tensor:
        z = self.latent.sample(n, generator=generator)
        mean = self.head(z, labels)
        made: Tensor = self.decoder(mean + self.residuals(z, labels, generator, mean))
        return made

    def _parts(self, x: Tensor, labels: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
        rows = torch.arange(len(x), device=x.device).split(_CHUNK)
        return [(x[part], labels[part] if labels is not None else None) for part in rows]

    def _energy(self, x: Tensor, labels: Tensor | None, z: Tensor) -> Tensor:
        misfit = (x - self.decode(z, labels)).flatten(1).square().sum(1)
        return misfit / self.noise_variance + self.latent.energy(z)

    def _mode(self, x: Tensor, labels: Tensor | None, steps: int) -> Tensor:
        """The best of the iterates of Adam on normalised gradients, with a falling step."""
        with torch.inference_mode(False), torch.enable_grad():
            x, best = x.clone(), self._nearest_code(x, labels).clone()
            z, lowest = best.clone().requires_grad_(), torch.full((len(x),), torch.inf, device=x.device)
            optimizer = torch.optim.Adam([z], lr=0.1)
            for step in range(steps + 1):
                energy = self._energy(x, labels, z)
                better = energy.detach() < lowest
                best, lowest = (
                    torch.where(better[:, None], z.detach(), best),
                    torch.where(better, energy.detach(), lowest),
                )
                (gradient,) = torch.autograd.grad(energy.sum(), z)
                z.grad = gradient / gradient.norm(dim=1, keepdim=True).clamp_min(1e-12)
                optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / (steps + 1))
                optimizer.step()
            return best

    @torch.no_grad()
    def _nearest_code(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The training code whose image is nearest, within the class where there are classes."""
        images = in_chunks(lambda z, y: self.decode(z, y).flatten(1), self.codes, self.code_labels)
        found = torch.empty(len(x), dtype=torch.int64, device=x.device)
        for mine, theirs in same_class(labels if self.classes > 1 else None, self.code_labels, len(x)):
            found[mine] = theirs[nearest_rows(x[mine].flatten(1), images[theirs])]
        return self.codes[found]


@torch.no_grad()
def in_chunks(function: Callable[[Tensor, Tensor | None], Tensor], z: Tensor, labels: Tensor | None) -> Tensor:
    """``function(z, labels)`` without gradients and in bounded memory."""
    rows = torch.arange(len(z), device=z.device).split(_CHUNK)
    return torch.cat([function(z[part], labels[part] if labels is not None else None) for part in rows])


def share_nearer_to_train(law: LatentLaw, train: Tensor, held: Tensor, m: int, generator: torch.Generator) -> float:
    """Share of images of fresh latents that are nearer to ``m`` training rows than to ``m`` held-out rows; 1/2 is fair."""
    rows = torch.randint(len(law.code_labels), (1000,), generator=generator, device=held.device)
    images = in_chunks(law.decode, law.latent.sample(1000, generator=generator), law.code_labels[rows]).flatten(1)
    unseen, shares = torch.cdist(images, held[:m].flatten(1)).amin(1), []
    for _ in range(5):
        subset = torch.randperm(len(train), generator=generator, device=train.device)[:m]
        shares.append((torch.cdist(images, train[subset].flatten(1)).amin(1) < unseen).float().mean())
    return float(torch.stack(shares).mean())


def lattice_advantage(law: LatentLaw, fresh: Tensor, held: Tensor) -> float:
    """Squared distance of held-out rows to the images of the training lattice, over that to those of a lattice ``fresh`` ``[n, d]``.

    It is 1 where the difference, row by row, is not larger than four standard errors.
    """
    images = (in_chunks(law.decode, z, law.code_labels).flatten(1) for z in (law.codes, fresh.to(law.codes)))
    mine, other = (torch.cdist(held.flatten(1), x).amin(1).square().double() for x in images)
    gap = other - mine
    if float(gap.mean()) <= 4 * float(gap.std()) / len(gap) ** 0.5:
        return 1.0
    return float(mine.mean() / other.mean().clamp_min(1e-12))
