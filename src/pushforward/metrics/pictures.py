"""How near are pictures to the pictures they should be? For pairs: denoised, reconstructed, translated.

Peak signal-to-noise ratio and structural similarity come from torchmetrics (``pip install torchmetrics``). The learned distance
needs a network whose weights nobody ships with a library: give your own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from pushforward.errors import NotSupported
from pushforward.metrics.measurement import Measurement, bootstrap_interval

FeatureNetwork = Callable[[Tensor], Sequence[Tensor]]

_LEAST = 10
_CHUNK = 64
_WINDOW = 11  # pixels: Gaussian weights of standard deviation 1.5 cut there, Wang et al. 2004
_LEAST_SIDE_OF_SCALES = 11 * 16  # five scales, each half the last, and the window must fit the coarsest
_TOLERANCE = 1e-3


def psnr(pictures: Tensor, reference: Tensor) -> Measurement:
    """Peak signal-to-noise ratio in dB, ``-10 log10`` of the mean square error on the scale [0, 1]; mean over pictures.

    Pairs that are equal have no finite value: they are left out and counted in the note; if all are, the value is infinite.

    Args:
        pictures: ``[n, c, h, w]``, uint8, or floating point in [-1, 1]; n at least 10.
        reference: What each of them should be, of the same shape.

    Raises:
        NotSupported: Without torchmetrics.
        ValueError: For shapes that differ, values outside the range, or too few pictures.
    """
    values = _each(_torchmetrics().peak_signal_noise_ratio, pictures, reference, dim=(1, 2, 3))
    finite = values[values.isfinite()]
    n_equal = len(values) - len(finite)
    if not len(finite):
        return Measurement(float("inf"), float("inf"), float("inf"), len(values), "raw", "all pairs are equal")
    return _mean(finite, "dB", f"{n_equal} equal pairs left out" if n_equal else "")


def ssim(pictures: Tensor, reference: Tensor) -> Measurement:
    """Structural similarity (Wang et al. 2004, doi:10.1109/TIP.2003.819861), mean over pictures; 1 is equal.

    Gaussian window of 11 pixels, constants .01 and .03, each channel on its own.

    Args:
        pictures: ``[n, c, h, w]``, uint8, or floating point in [-1, 1]; n at least 10, sides at least 11.
        reference: What each of them should be, of the same shape.

    Raises:
        NotSupported: Without torchmetrics.
        ValueError: For shapes that differ, values outside the range, too few or too small pictures.
    """
    _refuse_small(pictures, _WINDOW, f"its window is {_WINDOW} pixels wide; use psnr, or enlarge the pictures")
    return _mean(_each(_torchmetrics().structural_similarity_index_measure, pictures, reference))


def ms_ssim(pictures: Tensor, reference: Tensor) -> Measurement:
    """Structural similarity over five scales (Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216), mean over pictures.

    Args:
        pictures: ``[n, c, h, w]``, uint8, or floating point in [-1, 1]; n at least 10, sides at least 176.
        reference: What each of them should be, of the same shape.

    Raises:
        NotSupported: Without torchmetrics.
        ValueError: For shapes that differ, values outside the range, too few or too small pictures.
    """
    reason = f"the coarsest of its five scales must hold a window of {_WINDOW} pixels; use ssim"
    _refuse_small(pictures, _LEAST_SIDE_OF_SCALES, reason)
    return _mean(_each(_torchmetrics().multiscale_structural_similarity_index_measure, pictures, reference))


@torch.no_grad()
def perceptual_distance(
    pictures: Tensor,
    reference: Tensor,
    network: FeatureNetwork | None = None,
    *,
    weights: Sequence[Tensor] | None = None,
) -> Measurement:
    """Distance between the responses of a network's layers: LPIPS, for the network and weights that LPIPS uses.

    Each response is scaled to unit length over the channels; the squared differences are summed over channels with the weights,
    averaged over places and added over layers (Zhang et al. 2018, arXiv:1801.03924, eq. 1). A network with random weights gives a
    distance too, but not the published one.

    Args:
        pictures: ``[n, c, h, w]``, uint8, or floating point in [-1, 1]; n at least 10.
        reference: What each of them should be, of the same shape.
        network: Carries pictures in [-1, 1] to responses ``[n, c_l, h_l, w_l]`` of the layers.
        weights: Of the channels of each layer, ``[c_l]``, not negative; one each by default.

    Raises:
        NotSupported: Without a network.
        ValueError: For shapes that differ, values outside the range, too few pictures, or weights that do not fit.
    """
    if network is None:
        raise NotSupported(
            "perceptual_distance needs a network: LPIPS stands on one trained on ImageNet, and its weights do not come with this "
            "library. Fix: give network=, a function from pictures [n, c, h, w] to the responses of its layers."
        )
    values = [_response_gaps(network(2 * a - 1), network(2 * b - 1), weights) for a, b in _pairs(pictures, reference)]
    name = str(getattr(network, "name", type(network).__name__))
    value = _mean(torch.cat(values))
    return Measurement(value.value, value.low, value.high, value.n, name, "0 is equal")


def _torchmetrics() -> Any:
    """The functions for pictures; where torchvision does not fit torch their import fails in ways of its own."""
    try:
        return import_module("torchmetrics.functional.image")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise NotSupported(
            f"This metric needs torchmetrics, which cannot be imported ({reason}). Fix: pip install torchmetrics."
        ) from error


@torch.no_grad()
def _each(metric: Callable[..., Tensor], pictures: Tensor, reference: Tensor, **settings: Any) -> Tensor:
    """A metric of torchmetrics for every pair, ``[n]``."""
    pairs = _pairs(pictures, reference)
    return torch.cat([metric(a, b, data_range=1.0, reduction="none", **settings).reshape(len(a)) for a, b in pairs])


def _pairs(pictures: Tensor, reference: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Both in [0, 1], some pairs at a time."""
    if pictures.shape != reference.shape or pictures.ndim != 4:
        shapes = f"{list(pictures.shape)} and {list(reference.shape)}"
        raise ValueError(f"pictures and reference have shapes {shapes}; give two of the shape [n, c, h, w]")
    if len(pictures) < _LEAST:
        raise ValueError(f"pictures: {len(pictures)} are too few for an interval; give at least {_LEAST}")
    for name, x in (("pictures", pictures), ("reference", reference)):
        _refuse_range(name, x)
    return zip(*(map(_to_unit, x.split(_CHUNK)) for x in (pictures, reference)), strict=True)


def _refuse_range(name: str, x: Tensor) -> None:
    if x.dtype == torch.uint8:
        return
    if not x.is_floating_point():
        raise ValueError(f"{name}: values are {x.dtype}; give uint8, or floating point in [-1, 1]")
    if not bool((x.abs() <= 1 + _TOLERANCE).all()):
        raise ValueError(f"{name}: some values lie outside [-1, 1] or are NaN; scale them first, or give uint8")


def _refuse_small(x: Tensor, least: int, reason: str) -> None:
    if min(x.shape[-2:]) < least:
        size = "x".join(map(str, x.shape[-2:]))
        raise ValueError(f"pictures: {size} pixels are too few, at least {least}x{least} are needed: {reason}")


def _to_unit(x: Tensor) -> Tensor:
    return x.float() / 255 if x.dtype == torch.uint8 else (x.float() + 1) / 2


def _response_gaps(ours: Sequence[Tensor], theirs: Sequence[Tensor], weights: Sequence[Tensor] | None) -> Tensor:
    """Distances ``[n]``."""
    weights = [a.new_ones(a.shape[1]) for a in ours] if weights is None else weights
    if [len(w) for w in weights] != [a.shape[1] for a in ours]:
        raise ValueError(f"weights: their lengths must be the channels of the layers, {[a.shape[1] for a in ours]}")
    layers = zip(ours, theirs, weights, strict=True)
    gaps = [((_unit_length(a) - _unit_length(b)).square() * w[:, None, None]).sum(1).mean((1, 2)) for a, b, w in layers]
    return torch.stack(gaps).sum(dim=0)


def _unit_length(response: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(response, dim=1, keepdim=True)
    return response / length.clamp(min=1e-10)


def _mean(values: Tensor, unit: str = "", note: str = "") -> Measurement:
    """The mean over pictures ``[n]`` with its bootstrap interval."""
    value = float(values.double().mean())
    interval = bootstrap_interval(values.double()) if len(values) > 1 else (value, value)
    return Measurement(value, *interval, len(values), "raw", "; ".join(filter(None, [unit, note])))
