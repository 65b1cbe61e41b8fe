"""A loader's evaluation transform as an exportable torch module."""

from math import floor
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..prep import ShardSet
from .augment import Evaluation


class Preprocess(nn.Module):
    """Transforms stored images as a loader with the same augmentation does.

    The module uses torch operators only. `torch.export` and `torch.jit.trace` export it, alone or in front of a
    network, to a program that needs neither alexkit nor DALI. Both fix the image size but not the batch size; a traced
    program no longer rejects other sizes. Keep the buffers in float32 and convert the output instead.

    The output equals that of a CPU loader bit for bit, except when a mean image is combined with a gain other than 1:
    there the loader rounds once and this module twice. Resized images agree within 3 gray levels.

    Args:
        augment: `CenterCrop` or `TenViews`.
        shards: The evaluated shard set or its folder. It determines the size and shape of stored images and, unless
            `augment.mean_from` is set, the statistics. For a loader, this is `loader.shard_set`.

    Raises:
        InputError: For a random augmentation, and for one that a loader would refuse with this shard set.
    """

    mean_C11: Tensor
    gain_C11: Tensor
    residual_CHW: Tensor

    def __init__(self, augment: Evaluation, shards: ShardSet | str | Path) -> None:
        super().__init__()
        if not isinstance(augment, Evaluation):
            raise InputError(
                f"Preprocess: augment must be CenterCrop() or TenViews(), which draw no random numbers, got {augment!r}"
            )
        self._plan = plan = augment.plan(shards if isinstance(shards, ShardSet) else ShardSet.open(Path(shards)))
        self._offsets = [tuple(map(float, offset)) for offset in plan.fixed_offsets_V2()]
        normalization = plan.normalization
        self.register_buffer("mean_C11", torch.from_numpy(normalization.mean_C).view(3, 1, 1))
        self.register_buffer("gain_C11", torch.from_numpy(normalization.gain_C).view(3, 1, 1))
        if normalization.residual_HWC is not None:
            residual_HWC = torch.from_numpy(normalization.scaled_residual_HWC())
            self.register_buffer("residual_CHW", residual_HWC.permute(2, 0, 1).contiguous())

    def forward(self, images: Tensor) -> Tensor:
        """Transform uint8 RGB (N, H, W, 3) or (N, 3, H, W) to float32 (N, 3, height, width), or (N, views, 3, …).

        H and W must be those of stored images: both the set's `size_px`, or the shorter one if the set stores whole
        images. If `augment.resize` changes the size, any H and W are accepted.

        Raises InputError for any other dtype or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or 3 not in (images.shape[1], images.shape[3]):
            raise InputError(
                f"expected uint8 images of shape (N, H, W, 3) or (N, 3, H, W), got {images.dtype} {tuple(images.shape)}"
            )
        x_NCHW = images if images.shape[1] == 3 else images.permute(0, 3, 1, 2)
        height, width = x_NCHW.shape[2], x_NCHW.shape[3]
        if self._plan.sampling == "resized":
            x_NCHW = self._resized(x_NCHW)
        elif min(height, width) != self._plan.size_px or (height != width and not self._plan.whole_images):
            stored = "images whose shorter side is" if self._plan.whole_images else "square images of"
            raise InputError(
                f"expected {stored} {self._plan.size_px} px, as the shard set stores them, got {height} x {width} px"
            )
        views = [
            self._view(x_NCHW, offset, view.mirror)
            for offset, view in zip(self._offsets, self._plan.fixed, strict=True)
        ]
        return views[0] if len(views) == 1 else torch.stack(views, 1)

    def _resized(self, x_NCHW: Tensor) -> Tensor:
        height, width = x_NCHW.shape[2], x_NCHW.shape[3]
        shorter, size_px = min(height, width), self._plan.size_px
        sides = [size_px * height // shorter, size_px * width // shorter]
        resized_NCHW = nn.functional.interpolate(x_NCHW.float(), sides, mode="bilinear", antialias=True)
        return (resized_NCHW + 0.5).floor().clamp(0, 255)

    def _view(self, x_NCHW: Tensor, offset: tuple[float, ...], mirror: bool) -> Tensor:
        normalization = self._plan.normalization
        view_NCHW = (self._cut(x_NCHW, offset, mirror).float() - self.mean_C11) * self.gain_C11
        if normalization.residual_HWC is not None:
            moves = normalization.residual_moves
            view_NCHW = view_NCHW - (self._cut(self.residual_CHW, offset, mirror) if moves else self.residual_CHW)
        return view_NCHW.contiguous()

    def _cut(self, pixels: Tensor, offset: tuple[float, ...], mirror: bool) -> Tensor:
        """The view of pixels (…, H, W) at a normalized offset; half pixels round up, as in every backend."""
        (height, width), (rows, columns) = self._plan.crop_HW, pixels.shape[-2:]
        top, left = floor(offset[0] * (rows - height) + 0.5), floor(offset[1] * (columns - width) + 0.5)
        view = pixels[..., top : top + height, left : left + width]
        return view.flip(-1) if mirror else view
