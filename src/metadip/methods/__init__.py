"""Methods that a user can choose to solve a task, all of them deepinv Reconstructors."""

from metadip.methods.adjoint import Adjoint
from metadip.methods.admm_tv import TotalVariationADMM
from metadip.methods.after_another import AfterAnother, after_another
from metadip.methods.classical import DenoiserReconstructor
from metadip.methods.denoisers import BM3D, NLM, TV, Denoiser, Wavelet
from metadip.methods.dip import DIP
from metadip.methods.dip_tv import Splitting, SplitTV
from metadip.methods.dncnn import DnCNN
from metadip.methods.drunet import DRUNet
from metadip.methods.fit import FitReconstructor
from metadip.methods.fit_module import FitModule
from metadip.methods.hio import HIO
from metadip.methods.image_and_kernel import BlindDeblurring, SelfDeblur, selfdeblur
from metadip.methods.kernel_first import KernelFirst, kernel_first_then_fit
from metadip.methods.lasso import Lasso
from metadip.methods.learned_denoiser import LearnedDenoiser, denoiser
from metadip.methods.loading import load
from metadip.methods.method import Method
from metadip.methods.net_pgd import NetPGD, Projection
from metadip.methods.network_prior import DIPDenoiser
from metadip.methods.pnp import PnPADMM
from metadip.methods.refinement import Refinement
from metadip.methods.restarts import Restarted
from metadip.methods.richardson_lucy import RichardsonLucy
from metadip.methods.warm_starts import SingleImageStart, from_single_image, from_weights
from metadip.methods.wiener import Wiener
from metadip.physics.splitting import image_shape_of

__all__ = [
    "BM3D",
    "DIP",
    "HIO",
    "NLM",
    "TV",
    "Adjoint",
    "AfterAnother",
    "BlindDeblurring",
    "DIPDenoiser",
    "DRUNet",
    "Denoiser",
    "DenoiserReconstructor",
    "DnCNN",
    "FitModule",
    "FitReconstructor",
    "KernelFirst",
    "Lasso",
    "LearnedDenoiser",
    "Method",
    "NetPGD",
    "PnPADMM",
    "Projection",
    "Refinement",
    "Restarted",
    "RichardsonLucy",
    "SelfDeblur",
    "SingleImageStart",
    "SplitTV",
    "Splitting",
    "TotalVariationADMM",
    "Wavelet",
    "Wiener",
    "after_another",
    "denoiser",
    "from_single_image",
    "from_weights",
    "image_shape_of",
    "kernel_first_then_fit",
    "load",
    "selfdeblur",
]
