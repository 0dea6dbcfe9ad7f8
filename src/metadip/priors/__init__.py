"""Priors: representations f_theta(z), their networks, and the latents that enter them."""

from metadip.priors.blind import ImageAndKernel, KernelMLP
from metadip.priors.coarse_latent import CoarseLatent
from metadip.priors.conv_decoder import ConvDecoder
from metadip.priors.deep_decoder import DeepDecoder
from metadip.priors.guide_image import GuideImage
from metadip.priors.informed_network import InformedNetwork
from metadip.priors.inputs import BackProjection, Coordinates, Meshgrid, NetworkInput
from metadip.priors.kernel_siren import KernelSiren
from metadip.priors.latent import Latent
from metadip.priors.latent_network import LatentNetwork
from metadip.priors.magnitude_and_phase import MagnitudeAndPhase
from metadip.priors.net_decoder import NetDecoder
from metadip.priors.outliers import WithOutliers
from metadip.priors.pixel_grid import PixelGrid
from metadip.priors.random_projector import GaussianLatent, RandomProjector
from metadip.priors.representation import INPUTS, Representation, draw_weights
from metadip.priors.residual_unet import ResidualUNet
from metadip.priors.s2s_network import S2SNetwork
from metadip.priors.self_guided import SelfGuided
from metadip.priors.sequential import AutoSequential
from metadip.priors.siren import Siren
from metadip.priors.skip_unet import SkipUNet
from metadip.priors.spectral_decoder import SpectralDecoder
from metadip.priors.varied_skip_unet import VariedSkipUNet
from metadip.priors.with_dropout import WithDropout

__all__ = [
    "INPUTS",
    "AutoSequential",
    "BackProjection",
    "CoarseLatent",
    "ConvDecoder",
    "Coordinates",
    "DeepDecoder",
    "GaussianLatent",
    "GuideImage",
    "ImageAndKernel",
    "InformedNetwork",
    "KernelMLP",
    "KernelSiren",
    "Latent",
    "LatentNetwork",
    "MagnitudeAndPhase",
    "Meshgrid",
    "NetDecoder",
    "NetworkInput",
    "PixelGrid",
    "RandomProjector",
    "Representation",
    "ResidualUNet",
    "S2SNetwork",
    "SelfGuided",
    "Siren",
    "SkipUNet",
    "SpectralDecoder",
    "VariedSkipUNet",
    "WithDropout",
    "WithOutliers",
    "draw_weights",
]
