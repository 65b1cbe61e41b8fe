"""Lower bounds on squared distances that hold despite rounding, at a fraction of the cost of the distances.

Subtract the same vector from q and b, let x and y be their projections onto d orthonormal directions, and r and s the
norms of the residuals. By the Cauchy-Schwarz inequality, q·b <= x·y + r s, so |q - b|^2 >= |q|^2 + |b|^2 - 2 (x, r)·(y,
s): a dot product of d + 1 numbers instead of one over all units. The directions are those in which a sample varies
most, so the residuals are small; without directions, the product is over all units.

Rounding: a sum of n float32 products is off by at most n u times the sum of their magnitudes, u = 2^-24 (Higham,
Accuracy and Stability of Numerical Algorithms, section 3.1, with room for second-order terms). `slack` bounds the total
error as a fraction of |q|^2 + |b|^2 >= 2 |q| |b|.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

U = 2.0**-24
DIRECTIONS = 255
SAMPLE_ROWS = 4096
PIECE = 256  # units per product, so that sums stay short and rounding errors small


@dataclass(frozen=True, kw_only=True, slots=True)
class Bounds:
    """Transforms features to coordinates whose dot products bound distances."""

    center_D: Tensor
    """The vector that is subtracted from features, float32."""
    directions_DE: Tensor | None
    """Orthonormal columns, float32; None for all units."""

    @property
    def slack(self) -> float:
        """A bound on all rounding errors, as a fraction of |q|^2 + |b|^2."""
        units = len(self.center_D)
        if self.directions_DE is None:
            return 5 * units * U
        return 3 * self._projection_error + 3 * units * U

    @property
    def _projection_error(self) -> float:
        """A bound on the error of the coordinates, as a fraction of the vector's length."""
        assert self.directions_DE is not None
        units, directions = self.directions_DE.shape
        return float(
            (PIECE + units / PIECE + 4) * U * directions**0.5
        )  # of |P| |b|, where |P| has the norm sqrt(directions)

    def coordinates(self, rows_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates (N, d + 1), or (N, units) without directions, and squared norms (N,) of float32 features."""
        less_ND = rows_ND - self.center_D
        squares_N = less_ND.square().sum(1)
        if self.directions_DE is None:
            return less_ND, squares_N
        result_NE = less_ND.new_zeros(len(rows_ND), self.directions_DE.shape[1] + 1)
        inner_NE = result_NE[:, :-1]
        for start in range(0, less_ND.shape[1], PIECE):
            piece = slice(start, start + PIECE)
            inner_NE.addmm_(less_ND[:, piece], self.directions_DE[piece])
        left_N = (
            squares_N - inner_NE.square().sum(1) + (4 * self._projection_error + 2 * less_ND.shape[1] * U) * squares_N
        )
        result_NE[:, -1] = left_N.clamp(min=0).sqrt()
        return result_NE, squares_N


def all_units(base_ND: NDArray[np.floating]) -> Bounds:
    """Bounds from all units: the tightest."""
    return Bounds(center_D=_sample(base_ND).mean(0), directions_DE=None)


def main_directions(base_ND: NDArray[np.floating]) -> Bounds | None:
    """Bounds from the directions in which a sample of the base varies most; None if units or rows are too few, or
    nothing varies.

    The directions come from two rounds of subspace iteration (Halko et al., 2011). Any directions would be correct:
    they affect how many distances are ruled out, never which rows are found.
    """
    sample_ND = _sample(base_ND)
    if sample_ND.shape[1] < 4 * DIRECTIONS or len(sample_ND) < DIRECTIONS:
        return None
    center_D = sample_ND.mean(0)
    less_ND = sample_ND - center_D
    if not less_ND.any():
        return None
    generator = torch.Generator().manual_seed(0)
    directions_DE = torch.randn(less_ND.shape[1], DIRECTIONS, generator=generator)
    for _ in range(2):
        directions_DE = _orthonormal(less_ND.T @ (less_ND @ directions_DE))
    return Bounds(center_D=center_D, directions_DE=directions_DE)


def _orthonormal(columns_DE: Tensor) -> Tensor:
    """Orthonormal columns with the same span, fewer if some are dependent; computed in float64, returned as float32.

    Uses two rounds of products with the eigenvectors of the small Gram matrix: a QR decomposition of so tall a matrix
    took longer than the search.
    """
    columns_DE = columns_DE.double()
    for _ in range(2):
        values_E, vectors_EE = torch.linalg.eigh(columns_DE.T @ columns_DE)
        kept = values_E > 1e-12 * values_E[-1]
        columns_DE = columns_DE @ (vectors_EE[:, kept] / values_E[kept].sqrt())
    return columns_DE.float()


def _sample(base_ND: NDArray[np.floating]) -> Tensor:
    step = max(len(base_ND) // SAMPLE_ROWS, 1)
    return torch.from_numpy(np.asarray(base_ND[::step][:SAMPLE_ROWS], np.float32))
