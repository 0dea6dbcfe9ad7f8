"""Clean images, and the batches of inverse problems made of them."""

from metadip.data.build import (
    celeba_data,
    ellipses_data,
    folder_data,
    mixture_data,
    natural_data,
    sample_data,
)
from metadip.data.celeba import CelebA, download_celeba
from metadip.data.datamodule import ImageDataModule, ImageSource, LoaderSettings
from metadip.data.drawn import Ellipses, PureNoise
from metadip.data.folder import ImageFolder
from metadip.data.image_mixture import ImageMixture
from metadip.data.images import (
    ImageError,
    centre_crop,
    crop_and_resize,
    image_shape,
    list_files,
    list_images,
    read_image,
    resize,
)
from metadip.data.named import NamedImages
from metadip.data.names import image_names
from metadip.data.patches import (
    NaturalPatches,
    Patches,
    SamplePatches,
    sample_face,
    sample_picture,
)
from metadip.data.sampler import TaskSampler
from metadip.data.splits import images_of_split
from metadip.data.weights import check_weights
from metadip.seeding import SampleKey, generator_of, seed_of, seed_of_name

__all__ = [
    "CelebA",
    "Ellipses",
    "ImageDataModule",
    "ImageError",
    "ImageFolder",
    "ImageMixture",
    "ImageSource",
    "LoaderSettings",
    "NamedImages",
    "NaturalPatches",
    "Patches",
    "PureNoise",
    "SampleKey",
    "SamplePatches",
    "TaskSampler",
    "celeba_data",
    "centre_crop",
    "check_weights",
    "crop_and_resize",
    "download_celeba",
    "ellipses_data",
    "folder_data",
    "generator_of",
    "image_names",
    "image_shape",
    "images_of_split",
    "list_files",
    "list_images",
    "mixture_data",
    "natural_data",
    "read_image",
    "resize",
    "sample_data",
    "sample_face",
    "sample_picture",
    "seed_of",
    "seed_of_name",
]
