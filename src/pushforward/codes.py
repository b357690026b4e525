"""Learned codes of images: an autoencoder whose decoder turns means and mixtures of codes into sharp pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pushforward import nets
from pushforward.objectives.patches import patch_distance
from pushforward.run import Run

_NOISE = (
    0.3  # codes are decoded with noise on them, and drawn to zero: so that what lies between two codes decodes well
)
_DECAY = 1e-3
_CHUNK = 512


def autoencoder(event_shape: Sequence[int], dim: int, width: int) -> nn.ModuleDict:
    """An ``"encoder"`` ``[n, *event_shape] -> [n, dim]`` and a ``"decoder"`` back, with weights still to be learned."""
    encoder = nets.encoder(event_shape, dim, width=width)
    return nn.ModuleDict({"encoder": encoder, "decoder": nets.generator(dim, event_shape, width=width)})


def code_decoder(decoder: nn.Module, dim: int) -> nn.Sequential:
    """The decoder of standardised codes ``[n, dim]``."""
    return nn.Sequential(nets.Rescale(dim), decoder)


def learn_codes(
    x: Tensor,
    pair: nn.ModuleDict,
    run: Run,
    *,
    default: str,
    until: float,
    batch_size: int,
    learning_rate: float,
    ema_decay: float,
) -> tuple[Tensor, nn.Sequential]:
    """Train an autoencoder on images ``[n, *event_shape]`` for the share ``until`` of the run's budget.

    The objective is the windowed distance of `patch_distance` at noisy codes, plus a small multiple of the squared codes.

    Returns:
        Standardised codes ``[n, dim]`` and the decoder that turns them into images; the encoder has done its work.
    """
    optimizer = run.track("codes adam", torch.optim.AdamW(pair.parameters(), lr=learning_rate, fused=True))
    average = run.average("codes average", pair, ema_decay)
    rows = run.rows(len(x), batch_size)
    for _ in run.loop("codes", default=default, steps_per_epoch=steps_in_epoch(len(x), batch_size), until=until):
        optimizer.param_groups[0]["lr"] = learning_rate * cosine(run.fraction / until)
        batch = x[next(rows)]
        codes = pair["encoder"](batch)
        noise = torch.randn(codes.shape, generator=run.generator, device=codes.device)
        misfit = patch_distance(pair["decoder"](codes + _NOISE * noise), batch)
        run.step(optimizer, misfit + _DECAY * codes.square().mean(), clip=1.0)
    learned = average.module.requires_grad_(False).eval()
    encoder, decoder = learned.get_submodule("encoder"), learned.get_submodule("decoder")
    with torch.no_grad():
        found = torch.cat([encoder(part) for part in x.split(_CHUNK)])
    rescale = nets.Rescale(found.shape[1]).to(x.device)
    return rescale.fit(found), nn.Sequential(rescale, decoder)


def cosine(done: float) -> float:
    """A factor that falls from 1 to 0 on half a cosine while ``done`` goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


def steps_in_epoch(n: int, batch_size: int) -> int:
    """Full batches in a pass over ``n`` rows, at least one."""
    return max(1, n // min(batch_size, n))
