"""What SAM's image encoder made of an image, and its form as NumPy arrays, for stores on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from histosam_core.errors import ImageError


@dataclass(frozen=True, slots=True, eq=False)
class ImageEmbedding:
    """What the image encoder made of one image.

    Parameters
    ----------
    features
        (C, h, w) tensor on the model's device.
    image_hw
        Height and width of the image in pixels.
    """

    features: Tensor
    image_hw: tuple[int, int]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the embedding as arrays that `from_arrays` takes back bit for bit.

        ``features``, the tensor's own dtype, its axes ordered as they lie in memory; ``axes`` (3,)
        int64, that order; ``image_hw`` (2,) int64.
        """
        # The order is kept since kernels, and so the last bits of a mask, may depend on it.
        strides = self.features.stride()
        axes = sorted(range(3), key=lambda axis: -strides[axis])
        return {
            "features": self.features.detach().permute(axes).contiguous().cpu().numpy(),
            "axes": np.array(axes, np.int64),
            "image_hw": np.array(self.image_hw, np.int64),
        }

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        shape: tuple[int, int, int],
        device: torch.device,
    ) -> ImageEmbedding:
        """Return the embedding that `to_arrays` was called on, on a device.

        On a CPU it goes on using the arrays: leave them as they are. ImageError where they are no
        embedding, or one of another `shape`, (C, h, w).
        """
        try:
            axes = [int(axis) for axis in arrays["axes"]]
            height, width = (int(size) for size in arrays["image_hw"])
            values = np.require(arrays["features"], requirements="W")
            features = torch.from_numpy(values).permute(*np.argsort(axes).tolist())
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ImageError(
                "the arrays are no embedding of a SAM-like model; encode the image again"
            ) from error
        if features.shape != shape or not features.is_floating_point():
            raise ImageError(
                f"the arrays are an embedding of {tuple(features.shape)} {features.dtype}, the "
                f"model's are {shape}; encode the image again"
            )
        return cls(features.to(device), (height, width))
