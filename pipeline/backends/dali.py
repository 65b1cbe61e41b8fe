"""Running DALI pipelines: a decoder for the compiled CPU step, and the two backends in which DALI does everything."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from nvidia.dali.tensors import TensorCPU, TensorListCPU

from ...prep.format.compiled import compiled
from ..augment.plan import PixelPlan, Views, warm_up_views
from ..storage.samples import Stored
from .backend import BackendError, BackendOptions
from .dali_graph import DATA, GEOMETRY, RANDOM, SPANS, VIEWS, WORD_BYTES, build_decoder, build_graph


class DaliRun:
    """A running pipeline: batches go in with `start` and come out of `outputs` in the same order.

    `data` holds the bytes of the stored images. Its length is a multiple of 8; it is not copied and must not change.
    """

    def __init__(self, pipeline: Any, data: NDArray[np.uint8]) -> None:
        self._pipeline = pipeline
        self._data = TensorListCPU.broadcast(TensorCPU(data.view(np.int64)), pipeline.max_batch_size)
        pipeline.feed_input(DATA, self._data)
        self._num_under_way = 0
        # Warm-up: run the kernels on an empty batch so that Numba compiles now.
        none = np.empty(0, np.int64)
        word_spans(Stored(starts_B=none, sizes_B=none.astype(np.int32)))

    def __len__(self) -> int:
        """Number of batches started and not yet taken."""
        return self._num_under_way

    def start(
        self,
        images: Stored,
        geometry: NDArray[np.int32] | None,
        values: NDArray[np.float32] | None = None,
        random: NDArray[np.float32] | None = None,
    ) -> None:
        """Start computing one batch.

        Args:
            images: Where the images are in `data`.
            geometry: `Views.geometry()`, for a pipeline that only decodes `Views.boxes_B4`; None if it needs neither.
            values: The result of `view_values`; None for a pipeline that only decodes.
            random: Random numbers for the user's operators; None if they need none.
        """
        with _dali_errors():
            self._pipeline.feed_input(SPANS, TensorListCPU(word_spans(images)))
            if geometry is not None:
                self._pipeline.feed_input(GEOMETRY, TensorListCPU(geometry))
            if values is not None:
                self._pipeline.feed_input(VIEWS, TensorListCPU(values))
            if random is not None:
                self._pipeline.feed_input(RANDOM, TensorListCPU(random))
            self._pipeline.schedule_run()
        self._num_under_way += 1

    def outputs(self, stream: Any = None) -> Any:
        """The oldest batch as DALI returns it, one tensor per image. Raises BackendError if DALI failed on it.

        Waits for the batch. With a CUDA `stream`, however, returns once the host's part of decoding is done; the rest
        is ordered on that stream. DALI reclaims the memory once the tensors are dropped and the GPU is done with them.
        """
        with _dali_errors():
            (output,) = self._pipeline.outputs(stream)
        self._num_under_way -= 1
        return output

    def close(self) -> None:
        """Release the pipeline, its threads and memory, and drop the batches under way."""
        self._pipeline = self._data = None


class DaliDecoder(DaliRun):
    """Decodes images, or the boxes that are to be resized: `outputs` gives (H, W, 3) uint8 per sample."""

    def __init__(self, plan: PixelPlan, data: NDArray[np.uint8], options: BackendOptions) -> None:
        super().__init__(build_decoder(plan, options), data)


class _DaliViews:
    """DALI does every step, except what `finish` adds to it."""

    def __init__(
        self, plan: PixelPlan, data: NDArray[np.uint8], options: BackendOptions, *, subtract_residual: bool
    ) -> None:
        self._options = options
        graph, self.num_random = build_graph(plan, options, subtract_residual=subtract_residual)
        self._run = DaliRun(graph, data)
        view_values(warm_up_views(plan))

    def __len__(self) -> int:
        return len(self._run)

    def start(self, images: Stored, views: Views) -> None:
        self._run.start(images, views.geometry(), view_values(views), views.random_BK)

    def close(self) -> None:
        self._run.close()


class DaliCpu(_DaliViews):
    """DALI does every step on a CPU. Used only with operators of the user, which see the finished views."""

    def __init__(self, plan: PixelPlan, data: NDArray[np.uint8], options: BackendOptions) -> None:
        super().__init__(plan, data, options, subtract_residual=True)

    def finish(self) -> torch.Tensor:
        batch = as_torch(self._run.outputs(), self._options)
        return batch.to(self._options.dtype)  # from float32: DALI's own half precision is slower on the CPU


class DaliGpu(_DaliViews):
    """DALI does every step on a GPU, except subtracting a mean image that does not move with the crop.

    That image is a constant and is subtracted from the finished batch in place, unless the user adds operators, which
    must see the result.
    """

    def __init__(self, plan: PixelPlan, data: NDArray[np.uint8], options: BackendOptions) -> None:
        normalization = plan.normalization
        in_place = options.operators is None and not normalization.residual_moves
        self._residual: torch.Tensor | None = None
        if in_place and normalization.residual_HWC is not None:
            residual_CHW = torch.from_numpy(normalization.scaled_residual_HWC()).to(options.device).permute(2, 0, 1)
            self._residual = residual_CHW if options.channels_last else residual_CHW.contiguous()
        super().__init__(plan, data, options, subtract_residual=not in_place)

    def finish(self) -> torch.Tensor:
        with torch.cuda.device(self._options.device):  # a default stream's handle refers to the current device
            batch = as_torch(self._run.outputs(torch.cuda.current_stream()), self._options)
            if self._residual is not None:
                batch -= self._residual
            return batch.to(self._options.dtype)


def as_torch(output: Any, options: BackendOptions) -> torch.Tensor:
    """A dense DALI batch as a tensor with channels before height and width, without a copy."""
    batch: torch.Tensor = torch.from_dlpack(output.as_tensor())  # type: ignore[attr-defined]
    return batch.movedim(-1, -3) if options.channels_last else batch


def word_spans(images: Stored) -> NDArray[np.int64]:
    """Where a batch's images are, int64 (B, 2): the first 8-byte word of each, and the word after its last."""
    words_B2 = np.empty((len(images.starts_B), 2), np.int64)
    _fill_spans(images.starts_B, images.sizes_B, words_B2)
    return words_B2


@compiled
def _fill_spans(starts: NDArray[np.int64], sizes: NDArray[np.int32], words: NDArray[np.int64]) -> None:
    for i in range(len(words)):
        words[i, 0], words[i, 1] = starts[i] // WORD_BYTES, (starts[i] + sizes[i] + WORD_BYTES - 1) // WORD_BYTES


def view_values(views: Views) -> NDArray[np.float32]:
    """What a graph needs to know about a batch's views, float32 (B, 3 + 3 V + …).

    Each row holds the mean color; then top, left and mirror of each view; then, if they are used, 12 numbers of the
    color map (M, then t) and 4 of the erased rectangle. All are one input, because each input costs the host time for
    every image.
    """
    size, num_views = views.mirrors_BV.shape
    values_BX = np.empty((size, 3 + 3 * num_views), np.float32)
    _fill_values(views.offsets_BV2, views.mirrors_BV, views.means_B3, values_BX)
    more = []
    if views.colors_B34 is not None:
        more += [views.colors_B34[:, :, :3].reshape(size, 9), views.colors_B34[:, :, 3]]
    if views.erased_B4 is not None:
        more.append(views.erased_B4.astype(np.float32))
    return np.concatenate([values_BX, *more], axis=1) if more else values_BX


@compiled
def _fill_values(
    offsets: NDArray[np.float32], mirrors: NDArray[np.bool_], means: NDArray[np.float32], values: NDArray[np.float32]
) -> None:
    for i in range(len(values)):
        values[i, 0], values[i, 1], values[i, 2] = means[i, 0], means[i, 1], means[i, 2]
        for view in range(offsets.shape[1]):
            at = 3 + 3 * view
            values[i, at], values[i, at + 1] = offsets[i, view, 0], offsets[i, view, 1]
            values[i, at + 2] = mirrors[i, view]


@contextmanager
def _dali_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise BackendError(str(error)) from error
