"""Networks: plain ``nn.Module`` building blocks, initialised from torch's global generator like any torch layer."""

from __future__ import annotations

from pushforward.nets.constraints import (
    FullSort,
    GradientBounded,
    GradientNormalised,
    MaxMin,
    clip_weights,
    sorting_critic,
    spectral_normalised,
)
from pushforward.nets.critics import ACTIVATIONS, SMOOTH, check_critic, conv_critic, critic, mlp_critic
from pushforward.nets.dcgan import DCCritic, DCGenerator, gan_critic, gan_generator
from pushforward.nets.ema import EMA
from pushforward.nets.encoders import ConvEncoder, encoder
from pushforward.nets.generators import ConvGenerator, generator
from pushforward.nets.layers import Joined, Rescale, evaluating, mlp
from pushforward.nets.precision import half, half_pays
from pushforward.nets.random_features import RandomFeatures, random_features
from pushforward.nets.resnet import Projection, ResFeatures, ResGenerator, residual_critic, residual_generator
from pushforward.nets.timed import TimedMLP
from pushforward.nets.unet import UNet, timed_network

__all__ = [
    "ACTIVATIONS",
    "EMA",
    "ConvEncoder",
    "ConvGenerator",
    "DCCritic",
    "DCGenerator",
    "FullSort",
    "GradientBounded",
    "GradientNormalised",
    "Joined",
    "MaxMin",
    "Projection",
    "RandomFeatures",
    "ResFeatures",
    "ResGenerator",
    "Rescale",
    "SMOOTH",
    "TimedMLP",
    "UNet",
    "check_critic",
    "clip_weights",
    "conv_critic",
    "critic",
    "gan_critic",
    "encoder",
    "evaluating",
    "gan_generator",
    "generator",
    "half",
    "half_pays",
    "mlp",
    "mlp_critic",
    "random_features",
    "residual_critic",
    "residual_generator",
    "sorting_critic",
    "spectral_normalised",
    "timed_network",
]
