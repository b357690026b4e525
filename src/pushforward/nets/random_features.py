"""Fixed random features: a cheap perceptual distance that needs no training and no download."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_POOL = 4  # the responses of each scale are averaged onto a grid of at most this side
_FILTERS = 24
_KERNEL = 5
_HIDDEN = 512


class RandomFeatures(nn.Module):
    """Features ``[n, *event_shape] -> [n, dim]`` from weights that are drawn once and never learned.

    Images: 5 x 5 random filters on a pyramid of averaged images, a leaky rectifier, local averages, then a random
    projection. Vectors: one random rectified layer and a random projection. The features are multiplied by `scale`, set
    so that the mean squared distance between two rows is the same in features as in the input: at construction for
    smooth random inputs, by `calibrate` for your own.

    The weights depend on ``seed`` alone; they are drawn on the CPU in float64 and the global generator is not touched.

    Args:
        event_shape: ``(c, h, w)`` or ``(d,)``.
        dim: Number of features.
        seed: Of the weights.
    """

    scale: Tensor
    projection: Tensor

    def __init__(self, event_shape: Sequence[int], *, dim: int = 256, seed: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.responses = _responses(event_shape, rng)
        reference = _smooth_noise(64, event_shape, rng)
        n_raw = self.responses(reference).shape[1]
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("projection", _normal((n_raw, dim), rng) / math.sqrt(dim))
        self.calibrate(reference)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``[n, dim]`` of ``x`` ``[n, *event_shape]``; differentiable."""
        features: Tensor = self.responses(x) @ self.projection * self.scale
        return features

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> RandomFeatures:
        """Makes features spread as widely as the input does on ``x`` ``[n, *event_shape]``; returns self."""
        spread, wanted = (float(v.flatten(1).var(dim=0, correction=0).sum()) for v in (self(x), x))
        if spread > 0 and wanted > 0:
            self.scale *= math.sqrt(wanted / spread)
        return self


def random_features(event_shape: Sequence[int], *, dim: int = 256, seed: int = 0) -> RandomFeatures:
    """A fixed random feature map for data of this shape; see `RandomFeatures`."""
    return RandomFeatures(event_shape, dim=dim, seed=seed)


class _Pyramid(nn.Module):
    """Locally averaged responses of random filters at every scale of an image."""

    def __init__(self, channels: int, size: Sequence[int], rng: torch.Generator) -> None:
        super().__init__()
        self.n_scales = 1 + int(math.log2(max(1.0, min(size) / 4)))
        n_filters = self.n_scales * _FILTERS
        fan = channels * _KERNEL**2
        self.register_buffer("filters", _normal((n_filters, channels, _KERNEL, _KERNEL), rng) / math.sqrt(fan))
        self.register_buffer("offsets", 0.1 * _normal((n_filters,), rng))

    def forward(self, x: Tensor) -> Tensor:
        filters, offsets = (self.get_buffer(name).chunk(self.n_scales) for name in ("filters", "offsets"))
        responses = []
        for level, (kernel, offset) in enumerate(zip(filters, offsets, strict=True)):
            scaled = F.avg_pool2d(x, 2**level, ceil_mode=True)
            stride = 2 if min(scaled.shape[-2:]) >= 4 * _POOL else 1
            response = F.leaky_relu(F.conv2d(scaled, kernel, offset, stride=stride, padding=_KERNEL // 2), 0.2)
            height, width = (min(_POOL, side) for side in response.shape[-2:])
            responses.append(F.adaptive_avg_pool2d(response, (height, width)).flatten(1))
        return torch.cat(responses, dim=1)


class _Rectified(nn.Module):
    """One random rectified layer."""

    def __init__(self, dim: int, rng: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("weight", _normal((_HIDDEN, dim), rng) / math.sqrt(dim))
        self.register_buffer("offset", _normal((_HIDDEN,), rng))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(F.linear(x, self.get_buffer("weight"), self.get_buffer("offset")), 0.2)


def _responses(event_shape: Sequence[int], rng: torch.Generator) -> nn.Module:
    if len(event_shape) == 3:
        return _Pyramid(event_shape[0], event_shape[1:], rng)
    if len(event_shape) == 1:
        return _Rectified(event_shape[0], rng)
    raise ValueError(f"event_shape={tuple(event_shape)} is neither (channels, height, width) nor (dimension,)")


def _normal(shape: Sequence[int], rng: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64).float()


def _smooth_noise(n: int, event_shape: Sequence[int], rng: torch.Generator) -> Tensor:
    """Inputs that look like data: unit normal vectors, or images made of coarse noise, ``[n, *event_shape]``."""
    if len(event_shape) == 1:
        return _normal((n, *event_shape), rng)
    coarse = _normal((n, event_shape[0], 4, 4), rng)
    return F.interpolate(coarse, size=(event_shape[1], event_shape[2]), mode="bilinear", align_corners=False).tanh()
