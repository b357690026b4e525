"""One file per system. Importing this package registers them all."""

from pushforward.methods.ddpm import DDPM
from pushforward.methods.flow_matching import FlowMatching
from pushforward.methods.gan import GAN
from pushforward.methods.gaussian_mixture import GaussianMixture
from pushforward.methods.gis import GIS
from pushforward.methods.neurosql import NeuroSQL
from pushforward.methods.sig import SIG
from pushforward.methods.sql import SQL
from pushforward.methods.ttc import TTC
from pushforward.methods.univariate_wgan import UnivariateWGAN
from pushforward.methods.vae import VAE
from pushforward.methods.vdae import VDAE

__all__ = [
    "DDPM",
    "FlowMatching",
    "GAN",
    "GIS",
    "GaussianMixture",
    "NeuroSQL",
    "SIG",
    "SQL",
    "TTC",
    "UnivariateWGAN",
    "VAE",
    "VDAE",
]
