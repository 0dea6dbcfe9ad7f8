"""A mixture of image sources, interleaved by weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch.utils.data import Dataset

from metadip.data.datamodule import ImageSource
from metadip.data.splits import check_split
from metadip.data.weights import check_weights
from metadip.seeding import SampleKey, as_key, generator_of
from metadip.types import CleanImage, UserError


class ImageMixture(Dataset[CleanImage]):
    """Interleave the images of several sources in proportion to their weights.

    Model:
        A pass ends where the first source would start over: it takes n_k = w_k min_j(N_j / w_j) of
        the N_k images of source k, spread evenly, so that any stretch of the pass, such as the
        first images used in validation, follows the weights. Epoch e continues in each source
        where epoch e - 1 ended. Every (epoch, index) has its own key in the source, so that no
        patch or turn is repeated. In training, each source is shuffled once, by the seed.
    Shape:
        Item: as in the sources.
    Args:
        sources: by name, functions of ``split`` and ``seed`` that make the sources, such as
            ``CelebA`` with its other arguments bound; those of weight 0 are not made.
        weights: one per source, at least 0, in any unit.
        split: train, val or test.
        seed: shuffles the training images, and is passed to each source.
    Raises:
        ValueError: If ``split`` is unknown.
        UserError: If the weights or a source are bad; see ``check_weights`` and the sources.
    """

    def __init__(
        self,
        sources: Mapping[str, Callable[..., ImageSource]],
        *,
        weights: Mapping[str, float],
        split: str,
        seed: int,
    ) -> None:
        training = check_split(split) == "train"
        check_weights(weights, sources, key="data.weights")
        self.names = [name for name in sources if weights[name]]
        self.sources = [
            _make(name, partial(sources[name], split=split, seed=seed)) for name in self.names
        ]
        sizes = [len(source) for source in self.sources]
        shares = [weights[name] for name in self.names]
        passes = min(size / share for size, share in zip(sizes, shares, strict=True))
        self.counts = [max(1, round(share * passes)) for share in shares]
        self.orders = [
            torch.randperm(size, generator=generator_of(seed, k)) if training else range(size)
            for k, size in enumerate(sizes)
        ]
        places = [(torch.arange(count) + 0.5) / count for count in self.counts]
        which = [torch.full((count,), k) for k, count in enumerate(self.counts)]
        rank = [torch.arange(count) for count in self.counts]
        order = torch.cat(places).argsort(stable=True)
        self.slots = torch.stack([torch.cat(which), torch.cat(rank)], dim=1)[order]

    def __len__(self) -> int:
        return len(self.slots)

    def __getitem__(self, key: SampleKey | int) -> CleanImage:
        """Read one image; a plain integer means epoch 0."""
        epoch, index = as_key(key)
        k, rank = self.slots[index].tolist()
        order = self.orders[k]
        number, place = divmod(epoch * self.counts[k] + rank, len(order))
        image = self.sources[k][SampleKey(number, int(order[place]))]
        return CleanImage(image.x, index, f"{self.names[k]}_{image.name}", epoch)


def _make(name: str, source: Callable[[], ImageSource]) -> ImageSource:
    """Make a source; its errors name it."""
    try:
        return source()
    except UserError as error:
        raise UserError(f"data.sources.{name}: {error}") from error
