"""Exact nearest neighbors, in blocks: features and codes may be memory-mapped and are never entirely in memory.

On a CPU, lower bounds on distances rule out most of the base (see `bounds`), and only the remaining distances are
computed; on a GPU, where matrix products are cheap, all distances come from products. faiss was tried: it is no faster
than torch's products and does not read float16 from a memory-mapped file (benchmarks/README.md).
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....errors import InputError
from .blocks import BLOCK_BYTES, QUERY_ROWS
from .bounded import bounded_search


def nearest(
    base_ND: NDArray[np.floating], queries_QD: NDArray[np.floating], k: int, *, device: str = "cpu"
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Euclidean distances and row indices of the `k` nearest rows of `base_ND` for each query, (Q, k) each.

    Neighbors are sorted by distance, ties by row. The result is exact for float32 features (on a GPU, up to the
    rounding of float32 products). There are fewer than `k` columns if the base has fewer rows. Besides the results and,
    with many queries, 1 kB per query, about 1 GB of memory is used, whatever the sizes.

    Args:
        base_ND: features to search, any float dtype; may be memory-mapped.
        queries_QD: features to search for, of the same length.
        k: number of neighbors.
        device: device on which distances are computed.
    """
    if base_ND.shape[1] != queries_QD.shape[1]:
        raise InputError(f"features of {base_ND.shape[1]} and {queries_QD.shape[1]} units cannot be compared")
    if torch.device(device).type == "cpu":
        return bounded_search(base_ND, queries_QD, min(k, len(base_ND)))

    def load(rows: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.asarray(rows, np.float32)).to(device)

    def scores(queries_QD: Tensor, base_BD: Tensor) -> Tensor:
        # |b|^2 - 2 b q has the same order as the distance; |q|^2 is added at the end.
        return torch.addmm(base_BD.square().sum(1), queries_QD, base_BD.T, alpha=-2)

    best_QK, rows_QK = _search(base_ND, queries_QD, k, load, scores)
    for first in range(0, len(queries_QD), QUERY_ROWS):
        chosen = slice(first, first + QUERY_ROWS)
        best_QK[chosen] += load(queries_QD[chosen]).square().sum(1, keepdim=True)
    return best_QK.clamp(min=0).sqrt().cpu().numpy(), rows_QK.cpu().numpy()


def hamming_nearest(
    base_NB: NDArray[np.uint8], queries_QB: NDArray[np.uint8], k: int, *, device: str = "cpu"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hamming distances and row indices of the `k` nearest codes, (Q, k) each, the nearest first; see `nearest`.

    Args:
        base_NB: codes to search, bits packed as by `np.packbits`, uint8 (N, bytes); may be memory-mapped.
        queries_QB: codes to search for, of the same length.
        k: number of neighbors.
        device: device on which distances are computed.
    """
    if base_NB.shape[1] != queries_QB.shape[1]:
        raise InputError(f"codes of {base_NB.shape[1]} and {queries_QB.shape[1]} bytes cannot be compared")
    num_bits = 8 * base_NB.shape[1]

    def load(rows: NDArray[np.generic]) -> Tensor:
        bits = torch.from_numpy(np.unpackbits(np.asarray(rows, np.uint8), axis=1)).to(device)
        return bits.float().mul_(2).sub_(1)

    # The product of vectors of -1 and 1 is the number of equal bits minus that of different ones: exact in float32.
    best_QK, rows_QK = _search(base_NB, queries_QB, k, load, lambda queries, base: -(queries @ base.T), num_bits)
    return ((num_bits + best_QK) / 2).long().cpu().numpy(), rows_QK.cpu().numpy()


def _search(
    base: NDArray[np.generic],
    queries: NDArray[np.generic],
    k: int,
    load: Callable[[NDArray[np.generic]], Tensor],
    scores: Callable[[Tensor, Tensor], Tensor],
    units: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The lowest `k` scores of each query and their rows in the base, computed block by block."""
    k, num_queries = min(k, len(base)), len(queries)
    step = max(BLOCK_BYTES // (4 * (units or base.shape[1])), k)
    step = min(step, BLOCK_BYTES // (4 * QUERY_ROWS))  # so that the scores are no larger than a block
    step = max(step, k)
    device = load(queries[:1]).device
    best_QK = torch.full((num_queries, k), torch.inf, device=device)
    rows_QK = torch.zeros((num_queries, k), dtype=torch.int64, device=device)
    for start in range(0, len(base), step):
        block = load(base[start : start + step])
        for first in range(0, num_queries, QUERY_ROWS):
            chosen = slice(first, first + QUERY_ROWS)
            found = scores(load(queries[chosen]), block).topk(min(k, len(block)), dim=1, largest=False)
            values = torch.cat([best_QK[chosen], found.values], dim=1)
            rows = torch.cat([rows_QK[chosen], found.indices + start], dim=1)
            kept = values.sort(dim=1, stable=True).indices[:, :k]
            best_QK[chosen], rows_QK[chosen] = values.gather(1, kept), rows.gather(1, kept)
    return best_QK, rows_QK


def recall(found_QM: NDArray[np.int64], exact_QK: NDArray[np.int64]) -> float:
    """Fraction of the exact neighbors that are among those found, 0-1."""
    return float((exact_QK[:, :, None] == found_QM[:, None, :]).any(2).mean())
