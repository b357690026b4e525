"""Which precision a network trains fastest in, as a rule of the device and the size of the work."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_TRIALS = 5
_LARGE = 64 * 64  # pixels from which bfloat16 is faster on a CPU: benchmarks/flow_digits.py --profile


def half(device: torch.device, enabled: bool) -> torch.autocast:
    """A context in which matrix products and convolutions run in bfloat16 where ``enabled``; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


def half_pays(work: Callable[[], object], device: torch.device, pixels: int) -> bool:
    """Whether ``work`` (a forward and a backward pass, say) on images of so many pixels is faster in bfloat16.

    On a GPU both are timed, and bfloat16 must win by a tenth. On a CPU nothing is timed, because equal seeds are promised
    equal samples there and a clock would break that: it must have instructions for bfloat16, and the images must be large, since
    on small ones the conversions eat what the products gain.
    """
    if device.type == "cpu":
        return pixels >= _LARGE and _cpu_has_bfloat16()
    if device.type != "cuda" or not torch.cuda.is_bf16_supported(including_emulation=False):
        return False
    return _seconds(work, device, True) < 0.9 * _seconds(work, device, False)


def _cpu_has_bfloat16() -> bool:
    known = (getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile"))
    return any(bool(ask()) for ask in known if ask is not None)


def _seconds(work: Callable[[], object], device: torch.device, enabled: bool) -> float:
    """The least time of some trials, after a first one that does not count."""
    best = float("inf")
    for trial in range(1 + _TRIALS):
        began = time.perf_counter()
        with half(device, enabled):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began) if trial else best
    return best
