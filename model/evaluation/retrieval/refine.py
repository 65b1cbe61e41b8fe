"""The compiled part of the search: exact distances to rows that a lower bound does not rule out.

Rows are features, float32 (rows, units). `bounds_QB` are lower bounds on squared distances, minus `own_Q`, each query's
constant contribution.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from ....prep.format.compiled import Team, compiled_reassociated

PIECE = 256  # units between checks whether a distance already exceeds the limit


@functools.cache
def team(num_threads: int) -> Team:
    """The threads for these kernels, started once."""
    return Team(num_threads)


@compiled_reassociated
def distance(one_D: NDArray[np.float32], other_D: NDArray[np.float32], limit: float) -> float:
    """Squared Euclidean distance, or the partial sum once it exceeds `limit`."""
    total = 0.0
    for start in range(0, len(one_D), PIECE):
        # Slices, since an index that might be negative is wrapped, and the loop then gathers its numbers.
        one, other, part = one_D[start : start + PIECE], other_D[start : start + PIECE], np.float32(0)
        for unit in range(len(one)):
            difference = one[unit] - other[unit]
            part += difference * difference
        total += float(part)
        if total > limit:
            break
    return total


@compiled_reassociated
def seed_limits(
    base_BD: NDArray[np.float32],
    queries_QD: NDArray[np.float32],
    bounds_QB: NDArray[np.float32],
    k: int,
    limits_Q: NDArray[np.float64],
    first: int,
    end: int,
) -> None:
    """Set each limit to the largest distance of the K rows with the lowest bounds; the K-th nearest is no farther."""
    lowest, rows = np.empty(k, np.float32), np.empty(k, np.int64)
    for query in range(first, end):
        lowest[:] = np.inf
        rows[:] = 0
        for row in range(base_BD.shape[0]):
            bound = bounds_QB[query, row]
            if bound < lowest[k - 1]:
                place = k - 1
                while place > 0 and lowest[place - 1] > bound:
                    lowest[place] = lowest[place - 1]
                    rows[place] = rows[place - 1]
                    place -= 1
                lowest[place] = bound
                rows[place] = row
        largest = 0.0
        for place in range(k):
            largest = max(largest, distance(base_BD[rows[place]], queries_QD[query], np.inf))
        limits_Q[query] = largest


@compiled_reassociated
def count_left(
    bounds_QB: NDArray[np.float32],
    own_Q: NDArray[np.float64],
    limits_Q: NDArray[np.float64],
    left_Q: NDArray[np.int64],
    first: int,
    end: int,
) -> None:
    """Count the rows that their bounds do not rule out, by query."""
    for query in range(first, end):
        limit = np.float32(limits_Q[query] - own_Q[query])
        count = 0
        for row in range(bounds_QB.shape[1]):
            count += int(bounds_QB[query, row] <= limit)
        left_Q[query] = count


@compiled_reassociated
def refine(
    base_BD: NDArray[np.float32],
    queries_QD: NDArray[np.float32],
    bounds_QB: NDArray[np.float32],
    own_Q: NDArray[np.float64],
    limits_Q: NDArray[np.float64],
    offset: int,
    best_QK: NDArray[np.float64],
    rows_QK: NDArray[np.int64],
    first: int,
    end: int,
) -> None:
    """Merge the base's rows from `offset` on into the K nearest so far, ordered by distance, then by row."""
    k = best_QK.shape[1]
    for query in range(first, end):
        limit = min(limits_Q[query], best_QK[query, k - 1])
        bound = np.float32(limit - own_Q[query])  # the slack of the bounds covers this rounding
        for row in range(base_BD.shape[0]):
            if bounds_QB[query, row] <= bound:
                found = distance(base_BD[row], queries_QD[query], limit)
                if found <= limit and found < best_QK[query, k - 1]:
                    place = k - 1
                    while place > 0 and best_QK[query, place - 1] > found:
                        best_QK[query, place] = best_QK[query, place - 1]
                        rows_QK[query, place] = rows_QK[query, place - 1]
                        place -= 1
                    best_QK[query, place] = found
                    rows_QK[query, place] = offset + row
                    limit = min(limit, best_QK[query, k - 1])
                    bound = np.float32(limit - own_Q[query])
        limits_Q[query] = limit
