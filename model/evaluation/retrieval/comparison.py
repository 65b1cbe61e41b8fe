"""Compare a network's short codes with the exact search: how much they find, and how fast.

Codes and auto-encoder are stored in `RUN/features`: `codes-BITS-WEIGHTS-SET-PRECISION.npy` holds packed bits by image
index, and the `.safetensors` file of the same name holds the auto-encoder, with its training options in the metadata.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ....prep import ShardSet
from ....prep.format.files import whole_file
from ..trained import TrainedNetwork
from .codes import AutoEncoder, CodeOptions, random_codes, train_codes
from .feature_store import kept_file, may_write, read_kept
from .nearest import hamming_nearest, nearest, recall

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeScore:
    """The result of a search with one kind of codes."""

    codes: str
    """The kind, in words."""
    bits: int
    """Length of a code."""
    recall: dict[int, float]
    """The fraction of the exact neighbors that is in the shortlist, 0-1, by length of the shortlist."""
    queries_per_s: float
    """Shortlists per second, including the encoding of the queries."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeComparison:
    """Codes and their baseline, compared with the exact search."""

    neighbors: int
    """Exact neighbors to find for each query."""
    queries: int
    """Number of images that are searched for."""
    base: int
    """Number of images in the set that is searched."""
    units: int
    """Length of a feature vector."""
    exact_queries_per_s: float
    """Queries per second of the exact search."""
    rows: tuple[CodeScore, ...]
    """The trained codes, then random projections."""

    def numbers(self) -> dict[str, Any]:
        """Everything as plain JSON data."""
        return asdict(self)


def trained_codes(
    network: TrainedNetwork,
    shard_set: ShardSet,
    base_ND: NDArray[np.floating],
    options: CodeOptions,
    report: Callable[[int], None] | None = None,
) -> tuple[AutoEncoder, NDArray[np.uint8]]:
    """The auto-encoder of a set's features and their codes: stored ones with the same options, or newly trained.

    Args:
        network: the network of the features; for one from a weights file, nothing is stored.
        shard_set: the set of the features.
        base_ND: the features.
        options: how to train.
        report: called with the number of images seen so far in training.
    """
    path = kept_file(network, shard_set, f"codes-{options.bits}", ".safetensors")
    if path is not None and (kept := _read(path, base_ND.shape, options)) is not None:
        return kept
    keeps = may_write(path)
    model = train_codes(base_ND, options, report)
    codes_NB = model.encode(base_ND)
    if path is not None and keeps:
        _write(path, model, codes_NB, options)
    return model, codes_NB


def compare_codes(
    base_ND: NDArray[np.floating],
    queries_QD: NDArray[np.floating],
    model: AutoEncoder,
    codes_NB: NDArray[np.uint8],
    *,
    neighbors: int,
    device: str = "cpu",
) -> CodeComparison:
    """Measure how many of the exact neighbors are in shortlists of the nearest codes, 1, 10 and 100 times as long.

    Args:
        base_ND: features to search.
        queries_QD: features to search for.
        model: the auto-encoder.
        codes_NB: codes of `base_ND`.
        neighbors: number of exact neighbors to find for each query.
        device: device on which distances are computed.
    """
    bits = 8 * codes_NB.shape[1]
    nearest(base_ND[:8], queries_QD[:1], 1, device=device)  # compiles now, before timing
    (_, exact_QK), exact_s = _timed(partial(nearest, base_ND, queries_QD, neighbors, device=device))
    shortlists = sorted({min(size, len(base_ND)) for size in (neighbors, 10 * neighbors, 100 * neighbors)})
    rows = []
    for name, base, encode in (
        ("auto-encoder", codes_NB, model.encode),
        ("random projections", random_codes(base_ND, model, bits), partial(random_codes, model=model, bits=bits)),
    ):
        (_, close_QM), seconds = _timed(partial(_shortlist, base, queries_QD, encode, shortlists[-1], device))
        found = {size: recall(close_QM[:, :size], exact_QK) for size in shortlists}
        rows.append(CodeScore(codes=name, bits=bits, recall=found, queries_per_s=len(queries_QD) / seconds))
    return CodeComparison(
        neighbors=min(neighbors, len(base_ND)),
        queries=len(queries_QD),
        base=len(base_ND),
        units=base_ND.shape[1],
        exact_queries_per_s=len(queries_QD) / exact_s,
        rows=tuple(rows),
    )


def _shortlist(
    base_NB: NDArray[np.uint8],
    queries_QD: NDArray[np.floating],
    encode: Callable[[NDArray[np.floating]], NDArray[np.uint8]],
    size: int,
    device: str,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return hamming_nearest(base_NB, encode(queries_QD), size, device=device)


def _timed(call: Callable[[], Answer]) -> tuple[Answer, float]:
    start = time.monotonic()
    result = call()
    return result, max(time.monotonic() - start, 1e-9)


def _write(path: Path, model: AutoEncoder, codes_NB: NDArray[np.uint8], options: CodeOptions) -> None:
    from safetensors.torch import save

    with whole_file(path.with_suffix(".npy")) as file:
        np.save(file, codes_NB)
    with whole_file(path) as file:  # last: its presence means that both exist
        file.write(save(model.state_dict(), {"options": json.dumps(asdict(options))}))


def _read(path: Path, shape: tuple[int, ...], options: CodeOptions) -> tuple[AutoEncoder, NDArray[np.uint8]] | None:
    """Stored codes of features of this shape; None if there are none, or they are damaged or have other options."""
    from safetensors import SafetensorError, safe_open

    codes_NB = read_kept(path.with_suffix(".npy"), (shape[0], options.bits // 8), np.uint8)
    if codes_NB is None or not path.exists():
        return None
    model = AutoEncoder(shape[1], options)
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("options") != json.dumps(asdict(options)):
                return None
            state: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError):  # truncated, or not the layers of this auto-encoder
        return None
    return model.eval(), codes_NB
