"""A trained network with everything needed to use it: weights, class names, and the preparation of images.

It is loaded from a run folder, or from a weights file (ours, torchvision's or Caffe's AlexNet) and its recipe.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ...errors import InputError
from ...prep import PixelOptions, PixelSums
from ...prep.format.manifest import ClassEntry
from ..network.network import Network
from ..network.precision import choose_precision
from ..runs.recipe import Precision, Recipe

AnyImage = Image.Image | NDArray[np.uint8] | bytes | str | Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """The origin of a network's weights."""

    path: Path
    """The run folder or weights file, as given by the user."""
    step: int | None
    """Finished training steps; None for a weights file, which does not record them."""
    sha256: str
    """The hash of the weights file."""


class TrainedNetwork(nn.Module):
    """A network in eval mode; calling it maps prepared images (N, 3, crop, crop) to logits (N, classes).

    Attributes:
        network: the layers, a `Network`.
        recipe: the recipe it was trained with.
        classes: the class table in the order of the outputs; None if unknown, as for a weights file alone.
        pixels: how images are prepared before cropping; None if unknown.
        statistics: the training set's pixel sums, for the mean; None if unknown.
        origin: the origin of the weights.
        precision: the dtype of its convolutions and matrix products in evaluation.
        precision_name: the name of that dtype, as in `training.precision`, or None to take the recipe's.
    """

    precision_name: Precision | None = None

    def __init__(
        self,
        network: Network,
        *,
        recipe: Recipe,
        origin: Origin,
        classes: tuple[ClassEntry, ...] | None,
        pixels: PixelOptions | None,
        statistics: PixelSums | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.recipe, self.origin = recipe, origin
        self.classes, self.pixels, self.statistics = classes, pixels, statistics
        self.eval()

    @property
    def name(self) -> str:
        """The name shown in tables: the path as given by the user."""
        return str(self.origin.path)

    @property
    def num_classes(self) -> int:
        """Number of outputs."""
        return self.network.num_classes

    @property
    def class_names(self) -> list[str]:
        """Class names in the order of the outputs; numbers if the class table is unknown."""
        if self.classes is None:
            return [str(i) for i in range(self.num_classes)]
        return [entry.name for entry in self.classes]

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def precision(self) -> torch.dtype:
        """The dtype of its convolutions and matrix products in evaluation; `auto` depends on its device."""
        return choose_precision(self.precision_name or self.recipe.training.precision, self.device)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Compute logits (N, classes) of float images (N, 3, crop, crop), gray levels 0-255 minus the mean."""
        logits: Tensor = self.network(images_NCHW)
        return logits

    def predict(self, images: Sequence[AnyImage]) -> Tensor:
        """Probabilities, float32 (N, classes) on the CPU, of images in any form that `preprocess` takes."""
        return self.probabilities(self.preprocess(images)).cpu()

    @torch.no_grad()
    def probabilities(self, images_NCHW: Tensor) -> Tensor:
        """Softmax outputs, float32 (N, classes), of prepared images, in the network's precision."""
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            logits = self(images_NCHW.contiguous(memory_format=torch.channels_last))
        probabilities: Tensor = logits.float().softmax(1)
        return probabilities

    def preprocess(self, images: Sequence[AnyImage]) -> Tensor:
        """Turn images into the network's input, float32 (N, 3, crop, crop) on its device.

        Each image is prepared exactly as for the training shards (fitted, encoded and decoded), then center-cropped,
        and the mean is subtracted.

        Args:
            images: Pillow images, uint8 arrays (H, W, 3), encoded files as bytes, or paths. A Pillow image is turned
                upright by its EXIF block and composited over white, as its file would be.

        Raises InputError for an image that does not decode, and if the preparation or the mean is unknown.
        """
        with ThreadPoolExecutor() as threads:
            crops = list(threads.map(self.crop, images))
        return self.less_mean(crops)

    def require_preparation(self) -> None:
        """Raise InputError, before any image is read, if the preparation of images or the mean is unknown."""
        self._pixels()
        self.mean_CHW()

    def crop(self, image: AnyImage) -> NDArray[np.uint8]:
        """Prepare and crop one image, uint8 (crop, crop, 3); see `preprocess`."""
        image_HWC, crop = self.prepare(image), self.recipe.data.crop
        top, left = ((side - crop) // 2 for side in image_HWC.shape[:2])
        return image_HWC[top : top + crop, left : left + crop]

    def prepare(self, image: AnyImage) -> NDArray[np.uint8]:
        """Prepare one image as the training shards would store it, uint8 (H, W, 3)."""
        from ...prep.images.codecs.other_formats import rgb_of_pillow
        from ...prep.images.fit import fit_image
        from ...prep.images.prepare import encode_image, prepare_image
        from ...prep.images.stored import decode_stored

        pixels = self._pixels()
        if isinstance(image, str | Path):
            image = Path(image).read_bytes()
        if isinstance(image, bytes):
            encoded = prepare_image(image, pixels).encoded
        else:
            array = rgb_of_pillow(image) if isinstance(image, Image.Image) else np.asarray(image)
            if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
                raise InputError(f"expected a uint8 image of shape (H, W, 3), got {array.dtype} {array.shape}")
            encoded = encode_image(fit_image(array, pixels), pixels)
        return decode_stored(encoded, pixels)

    def less_mean(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Turn uint8 crops (crop, crop, 3) into a float32 batch (N, 3, crop, crop) on the device, minus the mean."""
        pixels_NHWC = torch.from_numpy(np.stack(crops)).to(self.device)
        return pixels_NHWC.permute(0, 3, 1, 2).float() - torch.from_numpy(self.mean_CHW()).to(self.device)

    def mean_CHW(self) -> NDArray[np.float32]:
        """The mean to subtract from a central crop, float32 (3, crop, crop), gray levels 0-255."""
        crop, mean = self.recipe.data.crop, self.mean
        if mean == "none":
            mean = 0.0
        if not isinstance(mean, str):
            color = np.broadcast_to(np.array(mean, np.float32), 3)
            return np.broadcast_to(color[:, None, None], (3, crop, crop)).copy()
        if self.statistics is None:
            raise InputError(
                f"{self.name}: the mean of its training set is unknown; pass a folder with train/, or that set, as "
                "--shards"
            )
        mean_HWC = self.statistics.mean_image_HWC()
        if mean == "channel":
            mean_HWC = np.broadcast_to(mean_HWC.mean((0, 1)), mean_HWC.shape)
        top, left = ((side - crop) // 2 for side in mean_HWC.shape[:2])
        mean_CHW = mean_HWC[top : top + crop, left : left + crop].transpose(2, 0, 1)
        return np.ascontiguousarray(mean_CHW, dtype=np.float32)

    @property
    def mean(self) -> Any:
        """The recipe's `data.mean`."""
        return self.recipe.data.mean

    def _pixels(self) -> PixelOptions:
        if self.pixels is None:
            raise InputError(
                f"{self.name}: the preparation of its training images is unknown; name their set with --shards"
            )
        return self.pixels
