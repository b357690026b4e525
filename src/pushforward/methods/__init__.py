"""One file per system. A file is read when its system is first asked for, so that importing the library stays cheap."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pushforward.methods.ddpm import DDPM
    from pushforward.methods.flow_matching import FlowMatching
    from pushforward.methods.gan import GAN
    from pushforward.methods.gaussian_mixture import GaussianMixture
    from pushforward.methods.gis import GIS
    from pushforward.methods.gran import GraN
    from pushforward.methods.neurosql import NeuroSQL
    from pushforward.methods.sig import SIG
    from pushforward.methods.sn_gan import SNGAN
    from pushforward.methods.sql import SQL
    from pushforward.methods.ttc import TTC
    from pushforward.methods.univariate_wgan import UnivariateWGAN
    from pushforward.methods.vae import VAE
    from pushforward.methods.vdae import VDAE
    from pushforward.methods.wgan import WGAN
    from pushforward.methods.wgan_gp import WGANGP

__all__ = [
    "DDPM",
    "FlowMatching",
    "GAN",
    "GIS",
    "GaussianMixture",
    "GraN",
    "NeuroSQL",
    "SIG",
    "SNGAN",
    "SQL",
    "TTC",
    "UnivariateWGAN",
    "VAE",
    "VDAE",
    "WGAN",
    "WGANGP",
]

FILES = {
    "DDPM": "ddpm",
    "FlowMatching": "flow_matching",
    "GAN": "gan",
    "GIS": "gis",
    "GaussianMixture": "gaussian_mixture",
    "GraN": "gran",
    "NeuroSQL": "neurosql",
    "SIG": "sig",
    "SNGAN": "sn_gan",
    "SQL": "sql",
    "TTC": "ttc",
    "UnivariateWGAN": "univariate_wgan",
    "VAE": "vae",
    "VDAE": "vdae",
    "WGAN": "wgan",
    "WGANGP": "wgan_gp",
}


def __getattr__(name: str) -> Any:
    """The class of that name, from its file."""
    if name not in FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{FILES[name]}"), name)


def read_all() -> None:
    """Read every file, which registers all systems."""
    for name in FILES:
        __getattr__(name)
