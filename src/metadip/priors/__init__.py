"""Priors: representations f_theta(z), their networks, and the latents that enter them."""

from metadip.priors.blind import ImageAndKernel, KernelMLP
from metadip.priors.conv_decoder import ConvDecoder
from metadip.priors.deep_decoder import DeepDecoder
from metadip.priors.informed_network import InformedNetwork
from metadip.priors.inputs import BackProjection, Coordinates, Meshgrid, NetworkInput
from metadip.priors.kernel_siren import KernelSiren
from metadip.priors.latent import Latent
from metadip.priors.latent_network import LatentNetwork
from metadip.priors.magnitude_and_phase import MagnitudeAndPhase
from metadip.priors.outliers import WithOutliers
from metadip.priors.random_projector import GaussianLatent, RandomProjector
from metadip.priors.representation import INPUTS, Representation, draw_weights
from metadip.priors.residual_unet import ResidualUNet
from metadip.priors.sequential import AutoSequential
from metadip.priors.siren import Siren
from metadip.priors.skip_unet import SkipUNet
from metadip.priors.varied_skip_unet import VariedSkipUNet

__all__ = [
    "INPUTS",
    "AutoSequential",
    "BackProjection",
    "ConvDecoder",
    "Coordinates",
    "DeepDecoder",
    "GaussianLatent",
    "ImageAndKernel",
    "InformedNetwork",
    "KernelMLP",
    "KernelSiren",
    "Latent",
    "LatentNetwork",
    "MagnitudeAndPhase",
    "Meshgrid",
    "NetworkInput",
    "RandomProjector",
    "Representation",
    "ResidualUNet",
    "Siren",
    "SkipUNet",
    "VariedSkipUNet",
    "WithOutliers",
    "draw_weights",
]
