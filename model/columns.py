"""Who holds which columns: all in this process, or one each in several.

A network asks its `Columns` to join activations where the figure joins them, and nothing else about processes.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """All `number` columns in this process."""

    number: int = 1

    @property
    def held(self) -> range:
        """The columns whose weights live in this process."""
        return range(self.number)

    def join(self, x: Tensor) -> Tensor:
        """The activations of all columns along dimension 1, from those held here."""
        return x

    def join_outputs(self, x: Tensor) -> Tensor:
        """Like `join`, for the network's outputs, from which every process computes the same whole loss."""
        return x

    def part(self, num_outputs: int) -> slice:
        """Which of a layer's outputs, along dimension 0 of its whole weights, are held here."""
        bounds = [num_outputs * column // self.number for column in (self.held.start, self.held.stop)]
        return slice(*bounds)
