"""Modules that follow a layer's weights (pooling, same-map normalization, dropout), and locally connected layers.

Each module sees one tensor and is unaware of columns in other processes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError

BITS_PER_DRAW = 16  # a dropout rate is rounded to a multiple of 2^-16
DRAWS_PER_WORD = 64 // BITS_PER_DRAW


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskKey:
    """The key of the dropout masks: the run's seed, the step, and each image's index in the shard set, int64 (N,).

    The step may also be a one-element int64 tensor on the same device, with the same masks: a captured CUDA graph reads
    the tensor in every replay, while a Python number would be baked in.
    """

    seed: int
    step: int | Tensor
    indices_N: Tensor


class DropoutMask(nn.Module):
    """Dropout whose masks depend only on (seed, step, layer, image, unit).

    The masks are therefore the same with any number of processes, on any device and after a restart. `first_unit` is
    the index of this process's first unit among all units of the layer. `inverted` divides in training instead of
    multiplying in evaluation.
    """

    def __init__(self, *, rate: float, inverted: bool, layer: int, first_unit: int = 0) -> None:
        super().__init__()
        self.rate, self.inverted, self.layer, self.first_unit = rate, inverted, layer, first_unit
        self.key: MaskKey | None = None  # set by the network before each training step

    def forward(self, x: Tensor) -> Tensor:
        """Zero the elements of x (N, ...) with probability `rate` in training; scale x in evaluation."""
        if not self.training:
            return x if self.inverted else x * (1 - self.rate)
        if self.key is None:
            raise InputError("training with dropout needs a MaskKey: call network(images, MaskKey(...))")
        kept = kept_units(self.key, self.layer, self.first_unit, x[0].numel(), self.rate).view_as(x)
        kept = kept.to(x.dtype)
        return x * (kept.div_(1 - self.rate) if self.inverted else kept)


def kept_units(key: MaskKey, layer: int, first_unit: int, num_units: int, rate: float) -> Tensor:
    """Mask of the kept units, bool (N, num_units): a pure function of its arguments, the same on every device."""
    threshold = round(rate * 2**BITS_PER_DRAW)
    if isinstance(key.step, Tensor):
        stream = _mix(_mix(_mix_int(key.seed) ^ key.step) ^ layer)
        return _kept_by_stream(key.indices_N, stream, first_unit, num_units, threshold)
    # Torch passes integers as int64. Only the seed's bits matter, so wrapping it changes no masks.
    seed = key.seed - 2**64 if key.seed >= 2**63 else key.seed
    kept: Tensor = torch.ops.alexkit.kept_units(key.indices_N, seed, key.step, layer, first_unit, num_units, threshold)
    return kept


def _kept_units(
    indices_N: Tensor, seed: int, step: int, layer: int, first_unit: int, num_units: int, threshold: int
) -> Tensor:
    stream = _mix_int(_mix_int(_mix_int(seed) ^ step) ^ layer)
    return _kept_by_stream(indices_N, stream, first_unit, num_units, threshold)


def _kept_by_stream(indices_N: Tensor, stream: int | Tensor, first_unit: int, num_units: int, threshold: int) -> Tensor:
    first_word, skip = divmod(first_unit, DRAWS_PER_WORD)
    num_words = -(-(skip + num_units) // DRAWS_PER_WORD)
    words_W = torch.arange(first_word, first_word + num_words, device=indices_N.device)
    bits_NW = _mix(_mix(indices_N[:, None] ^ stream) ^ words_W)
    draws = bits_NW.view(torch.int16)[:, skip : skip + num_units]  # uniform on -2^15 ... 2^15 - 1
    kept: Tensor = draws >= threshold - 2 ** (BITS_PER_DRAW - 1)
    return kept


# A custom operator, as in `norm.py`: torch.compile does not support viewing int64 as four int16. The step is symbolic,
# so that steps do not trigger recompilation.
_LIBRARY = torch.library.Library("alexkit", "FRAGMENT")  # type: ignore[no-untyped-call]
_LIBRARY.define(  # type: ignore[no-untyped-call]
    "kept_units(Tensor indices, SymInt seed, SymInt step, int layer, int first_unit, int num_units, int threshold)"
    " -> Tensor",
    tags=(torch.Tag.pt2_compliant_tag,),
)
_LIBRARY.impl("kept_units", _kept_units, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]


def _kept_like(
    indices: Tensor, seed: int, step: int, layer: int, first_unit: int, num_units: int, threshold: int
) -> Tensor:
    """The fake implementation, from which compilers learn the shape."""
    return indices.new_empty((indices.shape[0], num_units), dtype=torch.bool)


torch.library.register_fake("alexkit::kept_units", _kept_like, lib=_LIBRARY)


# The finalizer of the SplitMix64 generator (Steele, Lea and Flood, 2014), in signed arithmetic because torch has no
# unsigned.
_ADD, _MULTIPLY_1, _MULTIPLY_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def _signed(x: int) -> int:
    x &= 2**64 - 1
    return x - 2**64 if x >= 2**63 else x


def _mix_int(x: int) -> int:
    """The same function as `_mix`, for a Python integer, so that computing a key launches no kernels."""
    x = (x + _ADD) & (2**64 - 1)
    x = ((x ^ (x >> 30)) * _MULTIPLY_1) & (2**64 - 1)
    x = ((x ^ (x >> 27)) * _MULTIPLY_2) & (2**64 - 1)
    return _signed(x ^ (x >> 31))


def _mix(x: Tensor) -> Tensor:
    x = x + _signed(_ADD)
    x = (x ^ _shift(x, 30)) * _signed(_MULTIPLY_1)
    x = (x ^ _shift(x, 27)) * _signed(_MULTIPLY_2)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical (unsigned) right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


class SameMapNorm(nn.Module):
    """x / (1 + alpha * sum of x^2 over a `size` x `size` window of its map) ** beta, windows clipped at the edges."""

    def __init__(self, *, size: int, alpha: float, beta: float) -> None:
        super().__init__()
        self.size, self.alpha, self.beta = size, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        """Any x (N, C, H, W); same shape and dtype, computed in at least float32."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        sums = F.avg_pool2d(wide.square(), self.size, 1, self.size // 2, divisor_override=1)
        return (wide * (1 + self.alpha * sums) ** -self.beta).to(x.dtype)


class AbsTanh(nn.Module):
    """|tanh(x)| (Jarrett et al., 2009), cited in section 3.1 of the paper."""

    def forward(self, x: Tensor) -> Tensor:
        """Any x; same shape."""
        return x.tanh().abs()


class Pooling(nn.Module):
    """Max or average pooling without padding; the number of windows is rounded up."""

    def __init__(self, *, kind: str, size: int, stride: int) -> None:
        super().__init__()
        self.kind, self.size, self.stride = kind, size, stride

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W); average pooling divides by the part of the window inside x."""
        if self.kind == "max":
            return F.max_pool2d(x, self.size, self.stride, ceil_mode=True)
        return F.avg_pool2d(x, self.size, self.stride, ceil_mode=True, count_include_pad=False)


class LocallyConnected2d(nn.Module):
    """A convolution of stride 1 with different weights at every position.

    `weight` (filters, inputs, H, W) with inputs = maps * kernel * kernel in that order, `bias` (filters, H, W).
    """

    def __init__(self, maps: int, filters: int, *, kernel: int, pad: int, out_px: int) -> None:
        super().__init__()
        self.kernel, self.pad, self.out_px = kernel, pad, out_px
        self.weight = nn.Parameter(torch.empty(filters, maps * kernel**2, out_px, out_px))
        self.bias = nn.Parameter(torch.empty(filters, out_px, out_px))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, maps, px, px) to (N, filters, out_px, out_px)."""
        patches_NIP = F.unfold(x, self.kernel, padding=self.pad)
        out_NFP: Tensor = torch.einsum("nip,fip->nfp", patches_NIP, self.weight.flatten(2)) + self.bias.flatten(1)
        return out_NFP.view(x.shape[0], -1, self.out_px, self.out_px)  # len(x) would fix the batch in an export


class UndrawnLinear(nn.Linear):
    """`nn.Linear` with uninitialized weights: the network draws its own, and 60 million draws take a second."""

    def reset_parameters(self) -> None:
        """Do nothing."""


class UndrawnConv2d(nn.Conv2d):
    """`nn.Conv2d` with uninitialized weights; see `UndrawnLinear`."""

    def reset_parameters(self) -> None:
        """Do nothing."""
