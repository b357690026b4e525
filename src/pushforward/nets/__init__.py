"""Networks: plain ``nn.Module`` building blocks, initialised from torch's global generator like any torch layer."""

from __future__ import annotations

from pushforward.nets.ema import EMA
from pushforward.nets.generators import ConvGenerator, generator
from pushforward.nets.layers import mlp
from pushforward.nets.random_features import RandomFeatures, random_features

__all__ = ["EMA", "ConvGenerator", "RandomFeatures", "generator", "mlp", "random_features"]
