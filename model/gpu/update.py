"""The paper's update of all parameters in one launch: each number is read once and written once.

The formula and its rounding are those of `training/update_kernels.py`, so GPU and CPU agree bit for bit:

    v <- momentum * v, then v + decay * w, then v + rate * g; w <- w + v

Each arrow and each "then" is rounded once to float32, with product and sum fused. The bfloat16 copy of a weight is
rounded to nearest, ties to even.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
from torch import Tensor
from triton import language as tl

from ...pipeline.arguments.device import pinned
from .part import Part, is_flat

NUMBERS, WARPS = 2048, 4
"""Per program: 16 numbers per thread."""


def fits(part: Part) -> bool:
    """Whether the kernel supports it: float32, flat, and aligned to 16 bytes, which a slice of a tensor may not be."""
    tensors = [x for x in part[:4] if x is not None]
    kinds = part.w.dtype == part.v.dtype == torch.float32 and part.g.dtype in (torch.float32, torch.bfloat16)
    return kinds and is_flat(part.w) and all(x.device == part.w.device and x.data_ptr() % 16 == 0 for x in tensors)


class Update:
    """Updates parameters; the tables that describe them to the kernel stay on the device until they change."""

    def __init__(self) -> None:
        self._tables: dict[tuple[Any, ...], tuple[Any, Tensor, Tensor]] = {}

    def __call__(self, parts: Sequence[Part], held: Tensor | None = None) -> None:
        """Update all parts, with one launch for each gradient dtype, with and without copies.

        If `held`, a bool scalar on their device, is True when the launches run, they change nothing.
        """
        for dtype in (torch.float32, torch.bfloat16):
            for copied in (False, True):
                alike = [part for part in parts if part.g.dtype == dtype and (part.copy is not None) == copied]
                if alike:
                    self._launch(alike, dtype, copied, held)

    def _launch(self, parts: list[Part], dtype: torch.dtype, copied: bool, held: Tensor | None) -> None:
        device = parts[0].w.device
        lengths = tuple(part.w.numel() for part in parts)
        addresses = tuple(tuple(0 if x is None else x.data_ptr() for x in part[:4]) for part in parts)
        kind = (device, dtype, copied)
        tables = [
            self._table((*kind, "blocks"), lengths, lambda: _blocks(lengths)),
            self._table((*kind, "addresses"), (addresses, lengths), lambda: _addresses(addresses, lengths)),
            self._table(
                (*kind, "factors"),
                tuple(part.factors for part in parts),
                lambda: torch.tensor([part.factors for part in parts], dtype=torch.float32),
            ),
            self._table((device, "never held"), (), lambda: torch.zeros(1, dtype=torch.uint8))
            if held is None
            else held.view(torch.uint8),
        ]
        grid, options = (len(tables[0]),), (dtype == torch.bfloat16, copied, NUMBERS)
        if device.type == "cpu":  # Triton's interpreter
            _update[grid](*tables, *options)
            return
        with torch.cuda.device(device):
            _update[grid](*tables, *options, num_warps=WARPS)

    def _table(self, name: tuple[Any, ...], content: Any, make: Callable[[], Tensor]) -> Tensor:
        """The result of `make`, on the device; cached until `content` changes."""
        kept = self._tables.get(name)
        if kept is None or kept[0] != content:
            host = pinned(make(), name[0])  # kept, since a CUDA graph would copy from it again
            kept = self._tables[name] = (content, host, host.to(name[0], non_blocking=True))
        return kept[2]


def _blocks(lengths: tuple[int, ...]) -> Tensor:
    """The part and the block in it for each program, int32 (programs, 2)."""
    found = [(part, block) for part, length in enumerate(lengths) for block in range(-(-length // NUMBERS))]
    return torch.tensor(found, dtype=torch.int32).view(-1, 2)


def _addresses(addresses: tuple[tuple[int, ...], ...], lengths: tuple[int, ...]) -> Tensor:
    return torch.tensor([[*row, length] for row, length in zip(addresses, lengths, strict=True)], dtype=torch.int64)


@triton.jit
def _update(
    blocks: tl.tensor,
    addresses: tl.tensor,
    factors: tl.tensor,
    held: tl.tensor,
    half: tl.constexpr,
    copied: tl.constexpr,
    numbers: tl.constexpr,
):
    part = tl.load(blocks + 2 * tl.program_id(0))
    start = tl.load(blocks + 2 * tl.program_id(0) + 1).to(tl.int64) * numbers
    row = addresses + 5 * part
    w, v = _tensor(row, tl.float32) + start, _tensor(row + 1, tl.float32) + start
    g = _tensor(row + 2, tl.bfloat16 if half else tl.float32) + start
    copy = _tensor(row + 3, tl.bfloat16) + start
    # While held, no number is left to update.
    rest = tl.where(tl.load(held) == 0, tl.load(row + 4) - start, 0)
    if rest >= numbers:  # without a mask, so that loads are wide
        _block(w, v, g, copy, factors + 3 * part, numbers, copied, numbers)
    else:
        _block(w, v, g, copy, factors + 3 * part, rest, copied, numbers)


@triton.jit
def _block(
    w: tl.tensor,
    v: tl.tensor,
    g: tl.tensor,
    copy: tl.tensor,
    factors: tl.tensor,
    length: tl.tensor,
    copied: tl.constexpr,
    numbers: tl.constexpr,
):
    i = tl.arange(0, numbers)
    mask = i < length
    momentum, decay, rate = tl.load(factors), tl.load(factors + 1), tl.load(factors + 2)
    weight = tl.load(w + i, mask=mask)
    step = tl.fma(weight, decay, momentum * tl.load(v + i, mask=mask))
    step = tl.fma(tl.load(g + i, mask=mask).to(tl.float32), rate, step)
    weight += step
    tl.store(v + i, step, mask=mask)
    tl.store(w + i, weight, mask=mask)
    if copied:
        tl.store(copy + i, weight.to(tl.bfloat16), mask=mask)


@triton.jit
def _tensor(address: tl.tensor, dtype: tl.constexpr):
    """The tensor whose address is stored at `address`."""
    return tl.multiple_of(tl.load(address).to(tl.pointer_type(dtype)), 16)
