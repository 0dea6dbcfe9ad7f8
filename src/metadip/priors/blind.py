"""An image and the kernel that blurs it, each made by a network of its own: blind deblurring."""

from __future__ import annotations

from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from metadip.priors.representation import Representation, draw_weights
from metadip.registry import registered
from metadip.seeding import Stream, generator_of, seed_of
from metadip.types import Estimate, InverseProblem, Named, Start

KERNEL = 1  # the kernel's part of the streams of weights and latents
KERNEL_INPUT = "kernel_z"


class KernelNetwork(Protocol):
    """A module that makes kernels (B, 1, h, w) from an input with a row per image."""

    description: dict[str, Any]

    def sized(self, size_px: int) -> KernelNetwork:
        """Return the network for kernels of another side."""
        ...

    def input_of(self, problem: InverseProblem) -> Tensor:
        """Return the input (1, ...) for the image of a problem."""
        ...


@registered("kernel_mlp")
class KernelMLP(nn.Module):
    """Make a blur kernel from a fixed random vector by two layers.

    Model:
        k = softmax(W_2 relu6(W_1 z + b_1) + b_2), z ~ U(0, 0.1): no value of k is negative, and
        they sum to 1.
    Shape:
        (B, inputs) -> (B, 1, size_px, size_px).
    Args:
        size_px: side of the kernel, at least 1; larger than the blur rather than smaller.
        inputs: length of z, at least 1; 200 in SelfDeblur.
        width: hidden units, at least 1; 1000 in SelfDeblur.
    Raises:
        ValueError: If an argument is below 1.
    References:
        Ren et al. (2020), Neural Blind Deconvolution Using Deep Priors, arXiv:1908.02197.
    Example:
        >>> k = KernelMLP(5, inputs=4, width=8)(torch.rand(2, 4))
        >>> k.shape, torch.allclose(k.sum((1, 2, 3)), torch.ones(2))
        (torch.Size([2, 1, 5, 5]), True)
    """

    description: dict[str, Any]

    def __init__(self, size_px: int, *, inputs: int = 200, width: int = 1000) -> None:
        super().__init__()
        if min(size_px, inputs, width) < 1:
            raise ValueError(
                f"size_px, inputs and width must be at least 1, got {size_px}, {inputs} and {width}"
            )
        self.size_px, self.inputs, self.width = size_px, inputs, width
        self.layers = nn.Sequential(
            nn.Linear(inputs, width), nn.ReLU6(), nn.Linear(width, size_px**2)
        )

    def sized(self, size_px: int) -> KernelMLP:
        """See ``KernelNetwork``; weights are drawn when a fit starts."""
        if size_px == self.size_px:
            return self
        return KernelMLP(size_px, inputs=self.inputs, width=self.width)

    def input_of(self, problem: InverseProblem) -> Tensor:
        """See ``KernelNetwork``; drawn from the seed of the problem."""
        generator = generator_of(problem.seed, Stream.LATENT, KERNEL)
        weight = next(self.parameters())
        return (0.1 * torch.rand(1, self.inputs, generator=generator)).to(weight)

    def forward(self, z: Tensor) -> Tensor:
        """Return kernels."""
        k: Tensor = self.layers(z).softmax(dim=1)
        return k.view(-1, 1, self.size_px, self.size_px)


@registered("image_and_kernel")
class ImageAndKernel(Representation):
    """Generate an image and a blur kernel, for ``physics.A(x, filter=k)`` of deepinv's ``Blur``.

    Model:
        x_hat = f_theta(z) and k = g_phi(z_k). They are known up to a shift of one against the
        other. Groups of an optimiser tell them apart by name: ``image.*``, ``kernel.*``.
    Shape:
        Inputs of the image, and ``kernel_z`` of the kernel. An image that is ``valid`` blurred is
        larger than its measurement by the size of the kernel less 1.
    Args:
        image: generates the images.
        kernel: generates the kernels, as ``KernelMLP``. Its weights are drawn from an image's seed,
            as those of an untrained image.
    References:
        Ren et al. (2020), Neural Blind Deconvolution Using Deep Priors, arXiv:1908.02197. Zhuang et
        al. (2022), Blind Image Deblurring with Unknown Kernel Size and Substantial Noise,
        arXiv:2208.09483.
    """

    def __init__(self, image: Representation, kernel: KernelNetwork) -> None:
        super().__init__(learned=image.learned, learned_px=image.learned_px)
        self.image = image
        self.kernel: Any = kernel  # also a module

    @property
    def image_channels(self) -> int:
        """Channels of the images."""
        return self.image.image_channels

    @property
    def weights(self) -> Named:
        """Those of the image, then those of the kernel."""
        return _joined(self.image.weights, dict(self.kernel.named_parameters()))

    @property
    def refreshes(self) -> bool:
        """Whether the inputs of the image are refreshed."""
        return self.image.refreshes

    def with_channels(self, channels: int) -> ImageAndKernel:
        """Return the same for images of another number of channels, which share a kernel."""
        image = self.image.with_channels(channels)
        return self if image is self.image else ImageAndKernel(image, self.kernel)

    def with_kernel_px(self, size_px: int) -> ImageAndKernel:
        """Return the same for kernels of another side."""
        kernel = self.kernel.sized(size_px)
        if kernel is self.kernel:
            return self
        return ImageAndKernel(self.image, kernel.to(next(self.parameters()).device))

    def with_weights(self, weights: Named) -> Self:
        """See ``Representation.with_weights``."""
        copied = super().with_weights(weights)
        copied.image.learned = True
        return copied

    def start(self, problem: InverseProblem) -> Start:
        """Return the starts of both; see ``Representation.start``."""
        image, kernel = self.image.start(problem), self.kernel
        if not self.learned:
            kernel = draw_weights(kernel, seed=seed_of(problem.seed, Stream.WEIGHTS, KERNEL))
        weights = _joined(image.weights, dict(kernel.named_parameters()))
        return Start(weights, {**image.inputs, KERNEL_INPUT: self.kernel.input_of(problem)})

    def forward(self, size: tuple[int, int], **inputs: Tensor) -> Estimate:
        """Generate images and their kernels."""
        kernel = self.kernel(inputs.pop(KERNEL_INPUT))
        estimate: Estimate = self.image(size, **inputs)
        return estimate._replace(operator={**estimate.operator, "filter": kernel})

    def refresh(
        self, inputs: Named, estimate: Estimate, problem: InverseProblem, step: int
    ) -> Named:
        """Refresh the inputs of the image; see ``Representation.refresh``."""
        own = {name: tensor for name, tensor in inputs.items() if name != KERNEL_INPUT}
        return {**inputs, **self.image.refresh(own, estimate, problem, step)}


def _joined(image: Named, kernel: Named) -> Named:
    """Name the weights of both parts as the module does."""
    named = {f"image.{name}": tensor for name, tensor in image.items()}
    return named | {f"kernel.{name}": tensor for name, tensor in kernel.items()}
