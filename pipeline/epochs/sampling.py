"""Which samples make up an epoch, if not all of them once: subsets, class balance, weights, mixtures, your own order.

Each is a pure function of (seed, epoch), so loaders stay resumable and elastic. Replicas divide an epoch's sequence
among themselves as always.
"""

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..arguments import whole_number
from .order import random_of
from .proportions import divides_evenly, in_proportion


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """A sampling applied to the loaded sets."""

    allowed: NDArray[np.int64] | None
    """The samples that may be drawn, increasing; None for all."""
    length: int
    """Number of samples in an epoch's sequence."""
    order: Callable[[int, int], NDArray[np.int64]] | None
    """The sequence of sample indices as a function of (seed, epoch); None for a permutation of `allowed`."""
    name: str
    """Identifies the sampling in a loader's state."""


class Sampling(ABC):
    """Chooses the samples of an epoch."""

    @abstractmethod
    def drawn(self, labels_N: NDArray[np.int32], first_of_set: NDArray[np.int64]) -> Drawn:
        """Apply the sampling, given the labels of all samples and where each set starts. Raises InputError."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subset(Sampling):
    """Some of the samples, shuffled when training, in stored order when evaluating. All given conditions must hold."""

    indices: Sequence[int] | NDArray[Any] | None = None
    """Sample indices, or a mask with one bool per sample."""
    where: Callable[[NDArray[np.int32]], NDArray[np.bool_]] | None = None
    """A function from the labels of all samples to a mask: `where=lambda labels: labels < 10`."""
    limit: int | None = None
    """Maximum number of samples: the first in stored order, which `alexprep shard` has shuffled."""

    def drawn(self, labels_N: NDArray[np.int32], first_of_set: NDArray[np.int64]) -> Drawn:
        mask_N = np.ones(len(labels_N), bool)
        if self.indices is not None:
            mask_N &= _mask("indices", self.indices, len(labels_N))
        if self.where is not None:
            mask_N &= _mask("where", self.where(labels_N), len(labels_N))
        allowed = np.flatnonzero(mask_N)
        if self.limit is not None:
            allowed = allowed[: whole_number("limit", self.limit, at_least=1)]
        if len(allowed) == 0:
            raise InputError("the Subset holds no samples; widen indices or where")
        digest = hashlib.sha256(allowed.tobytes()).hexdigest()[:16]
        return Drawn(allowed=allowed, length=len(allowed), order=None, name=f"Subset {digest}")


@dataclass(frozen=True, kw_only=True)
class ClassBalanced(Sampling):
    """Every class equally often: rare classes repeat within an epoch, frequent ones continue in the next.

    If the number of samples is not a multiple of the number of classes, the classes take turns in having one more.
    """

    num_samples: int | None = None
    """Samples per epoch; None means the number of stored samples."""

    def drawn(self, labels_N: NDArray[np.int32], first_of_set: NDArray[np.int64]) -> Drawn:
        if num_none := int((labels_N < 0).sum()):
            raise InputError(
                f"ClassBalanced needs a class for every sample, but {num_none} have no label; choose Weighted, or "
                "leave them out with Subset(where=lambda labels: labels >= 0)"
            )
        groups = [np.flatnonzero(labels_N == label) for label in np.unique(labels_N)]
        length = _length(self.num_samples, len(labels_N))
        weights = np.ones(len(groups))
        name = _name(f"ClassBalanced {length}", weights, length)
        return Drawn(allowed=None, length=length, order=in_proportion(groups, weights, length), name=name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Weighted(Sampling):
    """Draws samples with replacement, each in proportion to its weight."""

    weights: Sequence[float] | NDArray[Any]
    """One number per sample, 0 or more."""
    num_samples: int | None = None
    """Samples per epoch; None means the number of stored samples."""

    def drawn(self, labels_N: NDArray[np.int32], first_of_set: NDArray[np.int64]) -> Drawn:
        weights_N = _weights(self.weights, len(labels_N), "samples")
        length = _length(self.num_samples, len(labels_N))
        bounds_N = np.cumsum(weights_N) / weights_N.sum()

        def order(seed: int, epoch: int) -> NDArray[np.int64]:
            points = random_of(seed, epoch).random_sample(length)
            return np.minimum(np.searchsorted(bounds_N, points, side="right"), len(bounds_N) - 1).astype(np.int64)

        digest = hashlib.sha256(weights_N.tobytes()).hexdigest()[:16]
        return Drawn(allowed=np.flatnonzero(weights_N), length=length, order=order, name=f"Weighted {digest} {length}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixed(Sampling):
    """Samples of several shard sets in fixed proportions: small sets repeat within an epoch, large ones continue.

    Proportions hold across epochs: a set that is due less than one sample per epoch appears in some epochs only.
    """

    weights: Sequence[float] | NDArray[Any]
    """One number per set, 0 or more."""
    num_samples: int | None = None
    """Samples per epoch; None means the number of stored samples in all sets."""

    def drawn(self, labels_N: NDArray[np.int32], first_of_set: NDArray[np.int64]) -> Drawn:
        weights = _weights(self.weights, len(first_of_set) - 1, "shard sets")
        length = _length(self.num_samples, len(labels_N))
        groups = [np.arange(first, last) for first, last in itertools.pairwise(first_of_set)]
        allowed = None if weights.all() else np.concatenate([groups[i] for i in np.flatnonzero(weights)])
        return Drawn(
            allowed=allowed,
            length=length,
            order=in_proportion(groups, weights, length),
            name=_name(f"Mixed {weights.tolist()} {length}", weights, length),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Custom(Sampling):
    """Any order: a curriculum, a number of samples of each class per batch, several views of an image per batch.

    A corrupt sample that is to be replaced gets its replacement from the samples of `order(0, 0)`.
    """

    order: Callable[[int, int], Sequence[int] | NDArray[Any]]
    """A function of (seed, epoch) that returns the sample indices of that epoch in order, for all replicas together.

    Every epoch must have the same length. Samples may repeat; they are then augmented differently. The function must
    depend on its arguments only, since every replica and every resumed run calls it again."""

    def drawn(self, labels_N: NDArray[np.int32], first_of_set: NDArray[np.int64]) -> Drawn:
        def order(seed: int, epoch: int) -> NDArray[np.int64]:
            return _indices(f"order({seed}, {epoch})", self.order(seed, epoch), len(labels_N)).astype(np.int64)

        first = order(0, 0)
        if not np.array_equal(first, order(0, 0)):
            raise InputError(
                "order(0, 0) returned other samples when it was called again; draw random numbers from (seed, epoch) "
                "only, e.g. with np.random.default_rng([seed, epoch])"
            )

        def as_long(seed: int, epoch: int) -> NDArray[np.int64]:
            if len(found := order(seed, epoch)) != len(first):
                raise InputError(
                    f"order({seed}, {epoch}) returned {len(found)} samples and order(0, 0) {len(first)}; every epoch "
                    "must have the same length"
                )
            return found

        digest = hashlib.sha256(first.tobytes()).hexdigest()[:16]
        return Drawn(allowed=np.unique(first), length=len(first), order=as_long, name=f"Custom {digest} {len(first)}")


def _name(name: str, weights: NDArray[np.float64], length: int) -> str:
    """The name in a loader's state. The suffix invalidates states of earlier versions, whose uneven epochs differed."""
    return name if divides_evenly(weights, length) else f"{name}, in turn"


def _mask(name: str, value: Any, num_samples: int) -> NDArray[np.bool_]:
    found = np.asarray(value)
    if found.dtype == bool and found.shape == (num_samples,):
        return found
    mask_N = np.zeros(num_samples, bool)
    mask_N[_indices(name, value, num_samples, f" or a mask of {num_samples} bools")] = True
    return mask_N


def _indices(name: str, value: Any, num_samples: int, alternative: str = "") -> NDArray[np.integer[Any]]:
    found: NDArray[Any] = np.asarray(value)
    if found.ndim != 1 or found.dtype.kind not in "iu" or found.size == 0:
        raise InputError(f"{name} must be sample indices{alternative}, got {value!r}")
    if int(found.min()) < 0 or int(found.max()) >= num_samples:
        raise InputError(f"{name} must be in 0..{num_samples - 1}, got {int(found.min())}..{int(found.max())}")
    return found


def _weights(value: Any, count: int, of: str) -> NDArray[np.float64]:
    try:
        weights = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"weights must be numbers, got {value!r}") from None
    if weights.shape != (count,) or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise InputError(f"weights must be {count} numbers of 0 or more, one for each of the {of}, got {value!r}")
    return weights


def _length(num_samples: int | None, of_all: int) -> int:
    return of_all if num_samples is None else whole_number("num_samples", num_samples, at_least=1)
