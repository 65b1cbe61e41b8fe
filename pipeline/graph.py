"""The DALI graph: places of stored images and draws in, tensors out. It holds no state and draws nothing.

The whole set is one input, fed once; an image is cut out of it inside the graph. Handing over an object for every image
would cost the host more than all its other work.

One definition serves the CPU (`device_id` None) and a GPU, where decoding is "mixed" and everything after it stays on
the GPU. Images are decoded whole and cropped after. `reference.py` says in NumPy what it must compute, but for a mean
image that does not move with the crop: it is one constant, which the loader takes off the finished batch in place. On
the CPU only the decoder is used as a rule, and `host.py` does the rest; the whole graph, where own operators follow.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .augment import PixelPlan
from .draws import Draws
from .samples import Stored

try:
    from nvidia.dali import Pipeline, fn, types
    from nvidia.dali.tensors import TensorCPU, TensorListCPU
except ImportError as error:
    raise ImportError("loading batches needs NVIDIA DALI: pip install nvidia-dali-cuda120 (Linux)") from error

DATA, PLACES, DRAWN = "data", "places", "drawn"
_WORD = np.dtype(np.int64).itemsize  # DALI cuts arrays number by number: eight bytes at once take a third of the time


def drawn_values(plan: PixelPlan, draws: Draws) -> NDArray[np.float32]:
    """What a graph without fixed views needs of a batch's draws, (B, 6): top and left as parts, mirror, mean colour.

    One input for all, because each costs the host its time for every image.
    """
    values_B6 = np.empty((len(draws.mirror_B), 6), np.float32)
    values_B6[:, :2] = plan.part(draws.crop_B2)
    values_B6[:, 2] = draws.mirror_B & plan.flip
    values_B6[:, 3:] = plan.mean_C
    if plan.shift_KC is not None:
        values_B6[:, 3:] = plan.mean_C - draws.alpha_B3 @ plan.shift_KC
    return values_B6


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

    def __len__(self) -> int:
        """Batches started and not yet taken."""
        return self._num_under_way

    def start(self, images: Stored, draws: Draws | None) -> None:
        """Begin to compute one batch."""
        first_B, behind_B = images.starts_B // _WORD, -(-(images.starts_B + images.sizes_B) // _WORD)
        self._pipeline.feed_input(PLACES, TensorListCPU(np.stack([first_B, behind_B], axis=1)))
        if draws is not None:
            self._pipeline.feed_input(DRAWN, TensorListCPU(drawn_values(self._plan, draws)))
        self._pipeline.schedule_run()
        self._num_under_way += 1

    def outputs(self, stream: Any = None) -> Any:
        """The oldest batch as DALI has it, one tensor an image; raises RuntimeError when DALI failed on it."""
        (output,) = self._pipeline.outputs(stream)
        self._num_under_way -= 1
        return output

    def finished(self, stream: Any = None) -> torch.Tensor:
        """The oldest batch as one dense tensor, on the device of the pipeline.

        Waits for it, but with a CUDA `stream` returns at once: the batch, and later the reuse of its memory, are then
        ordered on that stream.
        """
        batch: torch.Tensor = torch.from_dlpack(self.outputs(stream).as_tensor())  # type: ignore[attr-defined]
        return batch

    def close(self) -> None:
        """Nothing to end: DALI's threads go with the pipeline."""


def new_pipeline(batch_size: int, device_id: int | None, num_threads: int) -> Any:
    """An empty pipeline. Its queue of one means that each schedule_run runs one batch: the caller decides how many."""
    return Pipeline(
        batch_size=batch_size, num_threads=num_threads, device_id=device_id, prefetch_queue_depth=1, exec_dynamic=True
    )


def decoded(codec: str, size_px: int, device: str) -> Any:
    """The stored pixels at PLACES, (size, size, 3) uint8 per sample; inside a pipeline's definition."""
    words = fn.external_source(name=DATA, no_copy=True, repeat_last=True, ndim=1, dtype=types.INT64)
    place = fn.external_source(name=PLACES, ndim=1, dtype=types.INT64)
    encoded = fn.reinterpret(words[place[0] : place[1]], dtype=types.UINT8)
    if codec == "raw":
        source = encoded.gpu() if device == "gpu" else encoded
        if 3 * size_px**2 % _WORD:
            source = source[: 3 * size_px**2]
        return fn.reshape(source, shape=[size_px, size_px, 3], layout="HWC")
    return fn.decoders.image(
        encoded,
        device="cpu" if device == "cpu" else "mixed",
        output_type=types.RGB,
        adjust_orientation=False,
        jpeg_fancy_upsampling=True,  # as the CPU decoder does
    )


def build_decoder(codec: str, *, size_px: int, batch_size: int, device_id: int | None, num_threads: int) -> Any:
    """A built DALI pipeline that only decodes: (H, W, 3) uint8 per sample."""
    pipeline = new_pipeline(batch_size, device_id, num_threads)
    with pipeline:
        pipeline.set_outputs(decoded(codec, size_px, "cpu" if device_id is None else "gpu"))
    pipeline.build()
    return pipeline


def build_graph(
    plan: PixelPlan,
    *,
    codec: str,
    batch_size: int,
    device_id: int | None,
    num_threads: int,
    raw_pixels: bool,
    channels_last: bool,
    operators: Callable[[Any], Any] | None,
) -> Any:
    """A built DALI pipeline with one output: CHW or HWC, one or one a view; uint8 (`raw_pixels`) or float32."""
    device = "cpu" if device_id is None else "gpu"

    pipeline = new_pipeline(batch_size, device_id, num_threads)
    with pipeline:
        image = decoded(codec, plan.size_px, device)

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
                output_layout="HWC" if channels_last else "CHW",
            )

        def finish(crop_x: Any, crop_y: Any, mirror: Any, mean: Any) -> Any:
            pixels = cut(image, crop_x, crop_y, mirror, mean, types.UINT8 if raw_pixels else types.FLOAT)
            if plan.detail_HWC is not None and plan.detail_moves:
                whole = types.Constant(plan.detail_HWC, device=device, layout="HWC")
                pixels = pixels - cut(whole, crop_x, crop_y, mirror, [0.0] * 3, types.FLOAT)
            elif plan.detail_HWC is not None and operators is not None:
                detail_HWC = plan.scaled_detail_HWC()
                detail = detail_HWC if channels_last else np.ascontiguousarray(detail_HWC.transpose(2, 0, 1))
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
