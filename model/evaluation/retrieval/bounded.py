"""Exact nearest neighbors on a CPU: lower bounds rule out most of the base, and distances to the rest are computed.

The result does not depend on the blocks or bounds: distances are sums of float32 differences, always in the same order,
and rows of equal distance are in index order.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .blocks import BLOCK_BYTES, floats, give_back
from .bounds import Bounds, all_units, main_directions
from .refine import count_left, refine, seed_limits, team

BLOCK_ROWS, QUERY_ROWS = 2**14, 2**8  # so that a table of bounds stays in the cache
FEW_QUERIES = 512  # with fewer, projecting the base costs more than it saves
MOST_LEFT = 0.02  # fraction of a block; if more is left, bounds from all units are worth their cost

Coordinates = tuple[Tensor, Tensor]


def bounded_search(
    base_ND: NDArray[np.floating], queries_QD: NDArray[np.floating], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Distances and row indices of the `k` nearest neighbors, (Q, k) each; see `nearest`."""
    search = _Search(queries_QD, k)
    whole = all_units(base_ND)
    quick = main_directions(base_ND) if len(queries_QD) >= FEW_QUERIES else None
    step = max(min(BLOCK_BYTES // (4 * base_ND.shape[1]), BLOCK_ROWS), k)
    for start in range(0, len(base_ND), step):
        block_BD = floats(base_ND[start : start + step])
        failed = search.block(block_BD, start, quick, whole)
        if failed > len(search.parts) // 2:
            quick = None
        give_back(base_ND, start, start + len(block_BD))
    return np.sqrt(search.best_QK).astype(np.float32), search.rows_QK


class _Search:
    """The queries and their nearest rows found so far."""

    def __init__(self, queries_QD: NDArray[np.floating], k: int) -> None:
        num_queries = len(queries_QD)
        in_memory = 4 * queries_QD.size <= BLOCK_BYTES
        self.queries_QD = floats(queries_QD).numpy() if in_memory else queries_QD
        self.parts = [slice(first, first + QUERY_ROWS) for first in range(0, num_queries, QUERY_ROWS)]
        self.best_QK = np.full((num_queries, k), np.inf)
        self.rows_QK = np.zeros((num_queries, k), np.int64)
        self.limits_Q = np.full(num_queries, np.inf)
        self.threads = team(torch.get_num_threads())
        self.quick_coordinates: dict[int, Coordinates] = {}

    def block(self, block_BD: Tensor, offset: int, quick: Bounds | None, whole: Bounds) -> int:
        """Search one block for all queries; return for how many parts of them the quick bounds ruled out too little."""
        base_quick = quick.coordinates(block_BD) if quick else None
        base_whole: Coordinates | None = None
        failed = 0
        for number, part in enumerate(self.parts):
            part_QD = floats(self.queries_QD[part])
            if quick and base_quick:
                if number not in self.quick_coordinates:
                    self.quick_coordinates[number] = quick.coordinates(part_QD)
                if self._refine(part, part_QD, block_BD, offset, quick, self.quick_coordinates[number], base_quick):
                    continue
                failed += 1
            base_whole = base_whole or whole.coordinates(block_BD)
            self._refine(part, part_QD, block_BD, offset, whole, whole.coordinates(part_QD), base_whole, last=True)
        return failed

    def _refine(
        self,
        part: slice,
        part_QD: Tensor,
        block_BD: Tensor,
        offset: int,
        bounds: Bounds,
        queries: Coordinates,
        base: Coordinates,
        *,
        last: bool = False,
    ) -> bool:
        """Merge a block into some queries' nearest rows; return False, unchanged, if the bounds rule out too little."""
        best_QK, rows_QK, limits_Q = self.best_QK[part], self.rows_QK[part], self.limits_Q[part]
        scale = 1 - bounds.slack
        bounds_QB = torch.addmm(base[1] * scale, queries[0], base[0].T, alpha=-2)
        own_Q = queries[1].double() * scale
        pair = block_BD.numpy(), part_QD.numpy()
        table_QB = bounds_QB.numpy()
        if offset == 0:
            self.threads.run(seed_limits, len(part_QD), *pair, table_QB, best_QK.shape[1], limits_Q)
        if not last:
            left_Q = np.empty(len(part_QD), np.int64)
            self.threads.run(count_left, len(part_QD), table_QB, own_Q.numpy(), limits_Q, left_Q)
            if left_Q.sum() > MOST_LEFT * table_QB.size:
                return False
        arrays = (*pair, table_QB, own_Q.numpy(), limits_Q, offset, best_QK, rows_QK)
        self.threads.run(refine, len(part_QD), *arrays)
        return True
