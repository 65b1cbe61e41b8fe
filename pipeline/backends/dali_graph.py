"""DALI graphs: spans of stored images and views in, tensors out. They hold no state and draw no random numbers.

The whole set is one input, fed once; images are sliced out of it inside the graph. Passing one object per image would
cost the host more than all its other work.

One definition serves the CPU (`device_id` None) and a GPU, where decoding is "mixed" and everything after it runs on
the GPU. `reference.py` defines in NumPy what must be computed.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ...extras import explained_imports
from ..augment.plan import PixelPlan
from .backend import BackendOptions

with explained_imports():
    from nvidia.dali import Pipeline, fn, math, types

DATA, SPANS, GEOMETRY, VIEWS, RANDOM = "data", "spans", "geometry", "views", "random"
# DALI slices arrays element by element: elements of eight bytes take a third of the time.
WORD_BYTES = np.dtype(np.int64).itemsize


def _new_pipeline(options: BackendOptions) -> Any:
    """An empty pipeline. With a queue of one, each schedule_run runs one batch: the caller decides how many."""
    return Pipeline(
        batch_size=options.batch_size,
        num_threads=options.num_threads,
        device_id=options.device.index if options.device.type == "cuda" else None,
        prefetch_queue_depth=1,
        exec_dynamic=True,
    )


def _geometry() -> Any:
    """Within a pipeline definition: boxes or sizes, see `Views.geometry`."""
    return fn.external_source(name=GEOMETRY, ndim=1, dtype=types.INT32)


def _decoded(options: BackendOptions, boxes: Any) -> Any:
    """Within a pipeline definition: the stored pixels at SPANS, or boxes of them, (H, W, 3) uint8 per sample."""
    on_gpu, side = options.device.type == "cuda", options.pixels.size_px
    # DALI pins memory that is copied to a GPU: never the set itself, only the slices taken from it.
    words = fn.external_source(name=DATA, no_copy=True, repeat_last=True, ndim=1, dtype=types.INT64)
    span = fn.external_source(name=SPANS, ndim=1, dtype=types.INT64)
    encoded = fn.reinterpret(words[span[0] : span[1]], dtype=types.UINT8)
    box = {} if boxes is None else {"start": boxes[0:2], "shape": boxes[2:4], "axes": [0, 1]}
    if options.pixels.format == "raw":
        image = encoded.gpu() if on_gpu else encoded
        if 3 * side**2 % WORD_BYTES:
            image = image[: 3 * side**2]
        image = fn.reshape(image, shape=[side, side, 3], layout="HWC")
        if box:
            image = fn.slice(image, **box)
    else:
        decode = fn.decoders.image_slice if box else fn.decoders.image
        image = decode(
            encoded,
            device="mixed" if on_gpu else "cpu",
            output_type=types.RGB,
            adjust_orientation=False,
            jpeg_fancy_upsampling=True,  # as the CPU decoder does
            # The hardware JPEG decoder rounds differently, and which images of a batch it decodes depends on the
            # others: off unless the user turns it on.
            **({"hw_decoder_load": options.hw_decoder_load} if on_gpu else {}),
            **box,
        )
        # Whole images differ in size; a square image of any other size is an error.
        if options.pixels.fit == "crop" and not box:
            image = fn.reshape(image, shape=[side, side, 3], layout="HWC")
    return image


def _resized(plan: PixelPlan, options: BackendOptions) -> Any:
    """Within a pipeline definition: `_decoded`, resized if planned."""
    if plan.sampling == "stored":
        return _decoded(options, None)
    geometry = _geometry()
    if plan.sampling == "boxes":
        image, size = _decoded(options, geometry), plan.crop_HW
    else:
        image, size = _decoded(options, None), fn.cast(geometry, dtype=types.FLOAT)
    return fn.resize(image, size=size, interp_type=types.INTERP_LINEAR, antialias=True, dtype=types.UINT8)


def build_decoder(plan: PixelPlan, options: BackendOptions) -> Any:
    """A built DALI pipeline that decodes images, or the boxes that are to be resized: (H, W, 3) uint8 per sample."""
    pipeline = _new_pipeline(options)
    with pipeline:
        pipeline.set_outputs(_decoded(options, _geometry() if plan.sampling == "boxes" else None))
    pipeline.build()
    return pipeline


class SeededRandom:
    """Random numbers for user-defined operators: functions of (seed, epoch, sample), the same after every restart.

    Use its nodes instead of `fn.random` inside `operators(images, random)`.
    """

    def __init__(self) -> None:
        self._numbers: Any = None
        self.num_used = 0

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: int | None = None) -> Any:
        """A float32 node, uniform in (low, high): one scalar per sample, or `shape` numbers."""
        return self._take(1 if shape is None else shape, scalar=shape is None) * (high - low) + low

    def normal(self, mean: float = 0.0, stddev: float = 1.0, shape: int | None = None) -> Any:
        """A float32 node, normally distributed: one scalar per sample, or `shape` numbers."""
        count, scalar = (1 if shape is None else shape), shape is None
        radius = math.sqrt(-2.0 * math.log(self._take(count, scalar=scalar)))
        return radius * math.cos(2 * np.pi * self._take(count, scalar=scalar)) * stddev + mean

    def coin_flip(self, probability: float = 0.5) -> Any:
        """An int32 node: 1 with the given probability, else 0."""
        return fn.cast(self._take(1, scalar=True) < probability, dtype=types.INT32)

    def _take(self, count: int, *, scalar: bool) -> Any:
        if self._numbers is None:
            self._numbers = fn.external_source(name=RANDOM, ndim=1, dtype=types.FLOAT)
        first, self.num_used = self.num_used, self.num_used + count
        return self._numbers[first] if scalar else self._numbers[first : first + count]


def build_graph(plan: PixelPlan, options: BackendOptions, *, subtract_residual: bool) -> tuple[Any, int]:
    """A built DALI pipeline, and how many random numbers per sample the user's operators need.

    Its one output is uint8 or float32, CHW or HWC, stacked along a first axis if there are several views.
    """
    random = SeededRandom()
    device = "gpu" if options.device.type == "cuda" else "cpu"
    normalization = plan.normalization
    residual_HWC = normalization.residual_HWC if subtract_residual else None
    operators = None if options.operators is None else _with_random(options.operators, random)
    pipeline = _new_pipeline(options)
    with pipeline:
        image = _resized(plan, options)
        values = fn.external_source(name=VIEWS, ndim=1, dtype=types.FLOAT)
        end = 3 + 3 * plan.num_views
        if plan.twists_colors:
            matrix = fn.reshape(values[end : end + 9], shape=[3, 3])
            image = fn.coord_transform(image, M=matrix, T=values[end + 9 : end + 12], dtype=types.UINT8)
            end += 12
        erased = values[end : end + 4] if plan.erases else None

        def cut(pixels: Any, top: Any, left: Any, mirror: Any, mean: Any, to: Any) -> Any:
            return fn.crop_mirror_normalize(
                pixels,
                crop=plan.crop_HW,
                crop_pos_x=left,  # normalized; DALI rounds to whole pixels
                crop_pos_y=top,
                mirror=mirror,
                mean=mean,
                std=(1 / normalization.gain_C).tolist(),
                dtype=to,
                output_layout="HWC" if options.channels_last else "CHW",
            )

        def finish(top: Any, left: Any, mirror: Any) -> Any:
            to = types.UINT8 if options.raw_pixels else types.FLOAT
            pixels = cut(image, top, left, mirror, values[0:3], to)
            if residual_HWC is not None and normalization.residual_moves:
                whole = types.Constant(residual_HWC, device=device, layout="HWC")
                pixels = pixels - cut(whole, top, left, mirror, [0.0] * 3, types.FLOAT)
            elif residual_HWC is not None:
                scaled_HWC = normalization.scaled_residual_HWC()
                scaled = scaled_HWC if options.channels_last else np.ascontiguousarray(scaled_HWC.transpose(2, 0, 1))
                pixels = pixels - types.Constant(scaled, device=device)
            if erased is not None:
                axes = (0, 1) if options.channels_last else (1, 2)
                pixels = fn.erase(pixels, anchor=erased[0:2], shape=erased[2:4], axes=axes, fill_value=0.0)
            if operators is None:
                return pixels
            return operators(pixels)

        views = [
            finish(values[at], values[at + 1], fn.cast(values[at + 2], dtype=types.INT32))
            for at in range(3, 3 + 3 * plan.num_views, 3)
        ]
        pipeline.set_outputs(views[0] if len(views) == 1 else fn.stack(*views, axis=0))
    pipeline.build()
    return pipeline, random.num_used


def _with_random(operators: Callable[..., Any], random: SeededRandom) -> Callable[[Any], Any]:
    """The user's function as a function of the images alone; `random` is passed if the function has a parameter for it.

    That is a later parameter named `random`, or a second one without a default; others with defaults are the user's.
    """
    try:
        parameters = list(inspect.signature(operators).parameters.values())
    except (TypeError, ValueError):  # a function written in C
        return operators
    kinds = inspect.Parameter
    named = kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY
    if any(one.name == "random" and one.kind in named for one in parameters[1:]):
        return functools.partial(operators, random=random)
    places = [one for one in parameters if one.kind not in (kinds.KEYWORD_ONLY, kinds.VAR_KEYWORD)]
    if (len(places) > 1 and places[1].default is kinds.empty) or (places and places[0].kind is kinds.VAR_POSITIONAL):
        return lambda images: operators(images, random)
    return operators
