"""The DALI graph: places of stored images and draws in, tensors out. It holds no state and draws nothing.

The whole set is one input, fed once; an image is cut out of it inside the graph. Handing over an object for every image
would cost the host more than all its other work.

One definition serves the CPU (`device_id` None) and a GPU, where decoding is "mixed" and everything after it stays on
the GPU. Images are decoded whole and cropped after. `reference.py` says in NumPy what it must compute, but for a mean
image that does not move with the crop: it is one constant, which the loader takes off the finished batch in place. On
the CPU only the decoder is used as a rule, and `host.py` does the rest; the whole graph, where own operators follow.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...extras import explained_imports
from ...prep import PixelOptions
from ...prep.format.compiled import compiled
from ..augment import PixelPlan
from ..draws import Draws, draw
from ..samples import Stored

with explained_imports():
    from nvidia.dali import Pipeline, fn, types
    from nvidia.dali.tensors import TensorCPU, TensorListCPU

DATA, PLACES, DRAWN = "data", "places", "drawn"
_WORD = np.dtype(np.int64).itemsize  # DALI cuts arrays number by number: eight bytes at once take a third of the time


class GraphError(RuntimeError):
    """A batch could not be computed: an image does not decode, has another size, or DALI itself failed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphOptions:
    """How batches are computed from stored `pixels`.

    `raw_pixels`: uint8 out, not float32. `operators`: a function of a DALI node, for a user's own operators.
    """

    pixels: PixelOptions
    batch_size: int
    device: torch.device
    num_threads: int
    raw_pixels: bool = False
    channels_last: bool = False
    operators: Callable[[Any], Any] | None = None


def places_of(images: Stored) -> NDArray[np.int64]:
    """Where a batch's images lie, (B, 2): the first word of each, and the one behind it."""
    words_B2 = np.empty((len(images.starts_B), 2), np.int64)
    _fill_places(images.starts_B, images.sizes_B, words_B2)
    return words_B2


@compiled
def _fill_places(starts: NDArray[np.int64], sizes: NDArray[np.int32], words: NDArray[np.int64]) -> None:
    for i in range(len(words)):
        words[i, 0], words[i, 1] = starts[i] // _WORD, (starts[i] + sizes[i] + _WORD - 1) // _WORD


def drawn_values(plan: PixelPlan, draws: Draws) -> NDArray[np.float32]:
    """What a graph without fixed views needs of a batch's draws, (B, 6): top and left as parts, mirror, mean color.

    One input for all, because each costs the host its time for every image.
    """
    values_B6 = np.empty((len(draws.mirror_B), 6), np.float32)
    _fill_values(plan.part(draws.crop_B2), draws.mirror_B & plan.flip, mean_colors(plan, draws.alpha_B3), values_B6)
    return values_B6


@compiled
def _fill_values(
    parts: NDArray[np.float32], mirrors: NDArray[np.bool_], means: NDArray[np.float32], values: NDArray[np.float32]
) -> None:
    for i in range(len(values)):
        values[i, 0], values[i, 1], values[i, 2] = parts[i, 0], parts[i, 1], mirrors[i]
        values[i, 3], values[i, 4], values[i, 5] = means[i, 0], means[i, 1], means[i, 2]


def mean_colors(plan: PixelPlan, alpha_B3: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean color to subtract from each of B images, (B, 3), its color draw's shift taken off."""
    means_B3 = np.empty_like(alpha_B3)
    shift_KC = np.zeros((3, 3), np.float32) if plan.shift_KC is None else plan.shift_KC
    _fill_means(plan.mean_C, alpha_B3, shift_KC, means_B3)
    return means_B3


@compiled
def _fill_means(
    mean: NDArray[np.float32], alpha: NDArray[np.float32], shift: NDArray[np.float32], means: NDArray[np.float32]
) -> None:
    for i in range(len(means)):
        for color in range(3):
            means[i, color] = mean[color]
            for component in range(3):
                means[i, color] -= alpha[i, component] * shift[component, color]


class Graph:
    """A running pipeline: batches go in with `start` and come out of `finished` in the same order.

    `start` returns while DALI works. `data` are the stored images' bytes, a multiple of 8 of them, which are not copied
    and must not change; draws are None for a graph with fixed views.
    """

    def __init__(self, pipeline: Any, plan: PixelPlan, data: NDArray[np.uint8]) -> None:
        self._pipeline = pipeline
        self._plan = plan
        self._data = TensorListCPU.broadcast(TensorCPU(data.view(np.int64)), pipeline.max_batch_size)
        pipeline.feed_input(DATA, self._data)
        self._num_under_way = 0
        # Of nothing: the first batch shall not wait for the compiler.
        none = np.empty(0, np.int64)
        places_of(Stored(starts_B=none, sizes_B=none.astype(np.int32)))
        if plan.views is None:
            drawn_values(plan, draw(0, 0, none, none, plan.num_places))

    def __len__(self) -> int:
        """Batches started and not yet taken."""
        return self._num_under_way

    def start(self, images: Stored, draws: Draws | None) -> None:
        """Begin to compute one batch."""
        with _dali_errors():
            self._pipeline.feed_input(PLACES, TensorListCPU(places_of(images)))
            if draws is not None:
                self._pipeline.feed_input(DRAWN, TensorListCPU(drawn_values(self._plan, draws)))
            self._pipeline.schedule_run()
        self._num_under_way += 1

    def outputs(self, stream: Any = None) -> Any:
        """The oldest batch as DALI has it, one tensor an image; raises GraphError when DALI failed on it."""
        with _dali_errors():
            (output,) = self._pipeline.outputs(stream)
        self._num_under_way -= 1
        return output

    def finished(self, stream: Any = None) -> torch.Tensor:
        """The oldest batch as one dense tensor, on the device of the pipeline.

        Waits for it, but with a CUDA `stream` returns as soon as the host's part of decoding is done: the rest is
        ordered on that stream. DALI takes the memory back when the tensor is dropped and the GPU is done with it.
        """
        batch: torch.Tensor = torch.from_dlpack(self.outputs(stream).as_tensor())  # type: ignore[attr-defined]
        return batch

    def close(self) -> None:
        """Give up the pipeline, its threads and its memory, with the batches under way."""
        self._pipeline = self._data = None


@contextmanager
def _dali_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise GraphError(str(error)) from error


def _new_pipeline(options: GraphOptions) -> Any:
    """An empty pipeline. Its queue of one means that each schedule_run runs one batch: the caller decides how many."""
    return Pipeline(
        batch_size=options.batch_size,
        num_threads=options.num_threads,
        device_id=options.device.index if options.device.type == "cuda" else None,
        prefetch_queue_depth=1,
        exec_dynamic=True,
    )


def _decoded(options: GraphOptions) -> Any:
    """The stored pixels at PLACES, (H, W, 3) uint8 per sample; inside a pipeline's definition."""
    on_gpu, side = options.device.type == "cuda", options.pixels.size_px
    # DALI pins what goes from the CPU to a GPU. The set itself never does, only what is cut out of it.
    words = fn.external_source(name=DATA, no_copy=True, repeat_last=True, ndim=1, dtype=types.INT64)
    place = fn.external_source(name=PLACES, ndim=1, dtype=types.INT64)
    encoded = fn.reinterpret(words[place[0] : place[1]], dtype=types.UINT8)
    if options.pixels.format == "raw":
        image = encoded.gpu() if on_gpu else encoded
        if 3 * side**2 % _WORD:
            image = image[: 3 * side**2]
    else:
        image = fn.decoders.image(
            encoded,
            device="mixed" if on_gpu else "cpu",
            output_type=types.RGB,
            adjust_orientation=False,
            jpeg_fancy_upsampling=True,  # as the CPU decoder does
            # A GPU's JPEG unit rounds otherwise, and which images of a batch it takes depends on the others.
            **({"hw_decoder_load": 0.0} if on_gpu else {}),
        )
    # Whole images have sizes of their own; any other size of a square one is an error.
    return image if options.pixels.fit == "shorter" else fn.reshape(image, shape=[side, side, 3], layout="HWC")


def build_decoder(options: GraphOptions) -> Any:
    """A built DALI pipeline that only decodes: (H, W, 3) uint8 per sample."""
    pipeline = _new_pipeline(options)
    with pipeline:
        pipeline.set_outputs(_decoded(options))
    pipeline.build()
    return pipeline


def build_graph(plan: PixelPlan, options: GraphOptions) -> Any:
    """A built DALI pipeline with one output: CHW or HWC, one or one a view; uint8 or float32."""
    device = "gpu" if options.device.type == "cuda" else "cpu"
    operators = options.operators
    pipeline = _new_pipeline(options)
    with pipeline:
        image = _decoded(options)

        def cut(pixels: Any, crop_x: Any, crop_y: Any, mirror: Any, mean: Any, to: Any) -> Any:
            return fn.crop_mirror_normalize(
                pixels,
                crop=(plan.crop_px, plan.crop_px),
                crop_pos_x=crop_x,  # a part of the free play; DALI rounds to whole pixels
                crop_pos_y=crop_y,
                mirror=mirror,
                mean=mean,
                std=[1 / plan.gain] * 3,
                dtype=to,
                output_layout="HWC" if options.channels_last else "CHW",
            )

        def finish(crop_x: Any, crop_y: Any, mirror: Any, mean: Any) -> Any:
            pixels = cut(image, crop_x, crop_y, mirror, mean, types.UINT8 if options.raw_pixels else types.FLOAT)
            if plan.detail_HWC is not None and plan.detail_moves:
                whole = types.Constant(plan.detail_HWC, device=device, layout="HWC")
                pixels = pixels - cut(whole, crop_x, crop_y, mirror, [0.0] * 3, types.FLOAT)
            elif plan.detail_HWC is not None and operators is not None:
                detail_HWC = plan.scaled_detail_HWC()
                detail = detail_HWC if options.channels_last else np.ascontiguousarray(detail_HWC.transpose(2, 0, 1))
                pixels = pixels - types.Constant(detail, device=device)
            return pixels if operators is None else operators(pixels)

        if plan.views is None:
            drawn = fn.external_source(name=DRAWN, ndim=1, dtype=types.FLOAT)
            pipeline.set_outputs(finish(drawn[1], drawn[0], fn.cast(drawn[2], dtype=types.INT32), drawn[3:6]))
        else:
            parts = plan.part(np.array([(view.left, view.top) for view in plan.views])).tolist()
            views = [
                finish(left, top, int(view.mirror), plan.mean_C.tolist())
                for (left, top), view in zip(parts, plan.views, strict=True)
            ]
            pipeline.set_outputs(views[0] if len(views) == 1 else fn.stack(*views, axis=0))
    pipeline.build()
    return pipeline
