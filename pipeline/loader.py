"""The loader: a shard set in, batches of torch tensors out.

What a batch holds is decided by pure functions of the number of samples consumed (`schedule`, `draws`); the DALI graph
only computes. So a loader's state is one integer, and neither restarts nor threads nor the number of replicas change
which samples make up global batch k, or their pixels.
"""

import hashlib
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from ..prep import ShardSet
from .augment import GROUP_SIZE, Evaluation, PixelPlan, TrainAugment, plan_pixels
from .backends.compiled_cpu import HostGraph
from .backends.dali import Graph, GraphError, GraphOptions, build_graph
from .batch import Batch
from .corrupt import Rotten
from .device import find_device
from .draws import Draws, draw
from .order import full_order, meetings, window_order
from .samples import Samples
from .schedule import Schedule, Share

log = logging.getLogger(__name__)

STATE_VERSION = 1
ON_ERROR = ("raise", "replace")
BATCHES_AHEAD = 2
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8)


@dataclass(frozen=True, kw_only=True, slots=True)
class _UnderWay:
    """A batch that DALI is at work on: what the host knows of it, and the position behind it."""

    share: Share
    end: int
    num_replaced: int
    labels_B: NDArray[np.int64]
    keys: list[str]
    extras: dict[str, list[bytes | None]]


class Loader:
    """Batches of a shard set. `batch_size` is per replica; the global batch is batch_size * num_replicas.

    Iterating runs to the end of the current epoch, from wherever the loader stands: the first time a whole epoch, the
    next time the next one, after a `break` or `load_state_dict` the rest. With `TrainAugment` the order is shuffled and
    the tail that fills no global batch is dropped; with `CenterCrop` or `TenViews` every sample comes exactly once, in
    stored order, the last batch padded and masked.

    `device`: "cpu" or "cuda:N". `dtype`: float32, float16, bfloat16, or uint8 (pixels as stored, only cropped and
    mirrored: needs mean="none" and jitter="off"). `order`: "full" (uniform) or "window" (long reads for slow disks, see
    `order.py`). `num_threads`: DALI's, None for one per core. `on_error`: "raise" stops at a stored image that does not
    decode and names it; "replace" logs it and gives the next one that decodes in its place (masked out in an
    evaluation), so that a run survives a rotten disk; `num_replaced` counts such rows. `operators`: a function of a
    DALI node that puts your own operators behind the built-in ones; it sees one finished view, as uint8 or float32.
    `extras`: extensions of other tar members to hand over as bytes.

    Raises InputError for impossible settings and for a shard set that does not hold together, before the first batch.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        batch_size: int,
        augment: TrainAugment | Evaluation,
        device: str = "cpu",
        seed: int = 0,
        replica: int = 0,
        num_replicas: int = 1,
        order: str = "full",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
        num_threads: int | None = None,
        on_error: str = "raise",
        operators: Callable[[Any], Any] | None = None,
        extras: Sequence[str] = (),
    ) -> None:
        self.device = find_device(device)
        if dtype not in DTYPES:
            raise InputError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype}")
        if num_threads is not None and num_threads < 1:
            raise InputError(f"num_threads must be at least 1, got {num_threads}")
        if on_error not in ON_ERROR:
            raise InputError(f"on_error must be one of {', '.join(ON_ERROR)}, got {on_error!r}")
        self.shard_set = ShardSet.open(Path(folder))
        self._schedule = Schedule(
            num_samples=self.shard_set.manifest.num_samples,
            batch_size=batch_size,
            replica=replica,
            num_replicas=num_replicas,
            seed=seed,
            order=order,
            training=isinstance(augment, TrainAugment),
        )
        if self._schedule.order == "window":
            _report_mixing(seed, self.num_samples, self._schedule.global_batch)
        self._augment = augment
        self._plan = plan_pixels(augment, self.shard_set)
        if dtype == torch.uint8 and self._plan.changes_pixels:
            raise InputError(
                "uint8 batches hold pixels as stored: choose mean='none' and jitter='off', or a float dtype"
            )
        self._samples = Samples(self.shard_set)
        # A set that fits into memory is there after the first epoch, and asking for it would only cost time.
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self._reads_ahead = self._samples.num_bytes > memory / 2
        self._dtype = dtype
        self._on_error = on_error
        self._options = GraphOptions(
            pixels=self.shard_set.manifest.pixels,
            batch_size=batch_size,
            device=self.device,
            num_threads=num_threads or len(os.sched_getaffinity(0)),
            raw_pixels=dtype == torch.uint8,
            channels_last=channels_last,
            operators=operators,
        )
        self._graph: Graph | HostGraph | None = self._new_graph()
        self._rotten = Rotten(self._samples)
        self.num_replaced = 0
        self._extras = tuple(extras)
        self._detail = self._constant_detail() if self.device.type == "cuda" and operators is None else None
        self._under_way: deque[_UnderWay] = deque()
        self._position = 0
        self._fed = 0
        self._samples.labels(np.empty(0, np.int64))  # the first batch shall not wait for the compiler

    @property
    def num_samples(self) -> int:
        """Samples in the shard set."""
        return self._schedule.num_samples

    @property
    def num_classes(self) -> int:
        """Classes in the shard set's table."""
        return len(self.shard_set.manifest.classes)

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self._position // self._schedule.epoch_samples

    def __len__(self) -> int:
        """Batches of a whole epoch, the same on every replica."""
        return self._schedule.num_batches

    def __iter__(self) -> Iterator[Batch]:
        end = (self.epoch + 1) * self._schedule.epoch_samples
        while self._position < end:
            yield self._next()

    def state_dict(self) -> dict[str, int | str]:
        """Where the loader stands, as plain JSON; the next batch of a loader that loads it is the one due here."""
        return {**self._identity(), "position": self._position}

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """Continue with the very next batch. The number of replicas may differ, the global batch may not.

        Raises InputError, saying what differs, for the state of another shard set, seed, order or version.
        """
        for name, expected in self._identity().items():
            if state.get(name) != expected:
                raise InputError(f"loader state: {name} is {state.get(name)!r}, this loader has {expected!r}")
        position = state.get("position")
        start = position % self._schedule.epoch_samples if isinstance(position, int) else -1
        if not isinstance(position, int) or position < 0 or start % self._schedule.global_batch:
            raise InputError(f"loader state: position {position!r} is not the start of a batch")
        self._restart(position)

    def close(self) -> None:
        """Release threads, memory and mapped files. A closed loader gives no more batches."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None
            self._under_way.clear()
            del self._samples, self._rotten

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _identity(self) -> dict[str, int | str]:
        return {
            "version": STATE_VERSION,
            "shard_set": _fingerprint(self.shard_set),
            "seed": self._schedule.seed,
            "num_samples": self.num_samples,
            "global_batch": self._schedule.global_batch,
            "order": self._schedule.order,
        }

    def _next(self) -> Batch:
        if self._graph is None:
            raise InputError("this loader is closed; make a new one")
        # Training never waits at the end of an epoch; evaluation prepares nothing behind its end.
        stop = None if self._schedule.training else (self.epoch + 1) * self._schedule.epoch_samples
        while True:
            try:
                while len(self._under_way) <= BATCHES_AHEAD and (stop is None or self._fed < stop):
                    self._feed(self._graph)
                return self._receive(self._graph)
            except GraphError as error:
                shares = [one.share for one in self._under_way]
                self._restart(self._position)  # DALI gives up the whole pipeline with the batch
                self._replace_rotten(shares, error)
            except BaseException:
                self._restart(self._position)
                raise

    def _new_graph(self) -> Graph | HostGraph:
        return new_graph(self._plan, self._samples.data, self._options)

    def _restart(self, position: int) -> None:
        """Forget what is under way; the next batch is the one that starts at `position`."""
        if self._under_way and self._graph is not None:
            self._under_way.clear()
            self._graph.close()
            self._graph = self._new_graph()
        self._position = self._fed = position

    def _feed(self, graph: Graph | HostGraph) -> None:
        """Start the batch at `_fed`; returns while DALI works."""
        share, num_replaced = self._rotten.without(self._schedule.share(self._fed), training=self._schedule.training)
        draws = None if self._plan.views is not None else self._draws(share)
        if self._reads_ahead or share.epoch == 0:
            self._samples.read_ahead(self._schedule.read_ahead(self._fed))
        one = _UnderWay(
            share=share,
            end=self._schedule.after(self._fed),
            num_replaced=num_replaced,
            labels_B=self._samples.labels(share.indices_B),
            keys=self._samples.keys(share.indices_B),
            extras={ext: self._samples.extras(share.indices_B, ext) for ext in self._extras},
        )
        self._under_way.append(one)
        graph.start(self._samples.images(share.indices_B), draws)
        self._fed = one.end

    def _replace_rotten(self, shares: list[Share], error: GraphError) -> None:
        """Find the image that DALI stumbled over.

        Raises InputError naming it, unless it is to be replaced, and GraphError when there is none, so that the mistake
        is elsewhere.
        """
        rotten = self._rotten.find(shares)
        if not rotten:
            raise GraphError(f"{self.shard_set.folder}: DALI failed on a batch of sound images: {error}") from error
        if self._on_error == "raise":
            raise InputError(
                f"{self._samples.where(rotten[0])}: this image does not decode, so the disk or a copy went wrong; "
                "'alexprep repair SHARDS SOURCE' makes it again, on_error='replace' goes on without it"
            ) from error
        self._rotten.add(rotten)

    def _constant_detail(self) -> torch.Tensor | None:
        """What to take off every finished image, (3, crop, crop), laid out like the images; None for nothing."""
        if self._plan.detail_HWC is None or self._plan.detail_moves:
            return None
        detail_CHW = torch.from_numpy(self._plan.scaled_detail_HWC()).to(self.device).permute(2, 0, 1)
        return detail_CHW if self._options.channels_last else detail_CHW.contiguous()

    def _draws(self, share: Share) -> Draws:
        assert isinstance(self._augment, TrainAugment)
        places = share.indices_B if self._augment.crop_draw == "image" else share.numbers_B // GROUP_SIZE
        return draw(self._schedule.seed, share.epoch, places, share.indices_B, self._plan.num_places)

    def _receive(self, graph: Graph | HostGraph) -> Batch:
        """The oldest batch under way."""
        if self.device.type == "cpu":
            images = graph.finished()
        else:
            with torch.cuda.device(self.device):  # a default stream's handle means that of the current device
                images = graph.finished(torch.cuda.current_stream())
        if self._options.channels_last:
            images = images.movedim(-1, -3)
        if self._detail is not None:
            images -= self._detail
        one = self._under_way.popleft()
        self._position = one.end
        self.num_replaced += one.num_replaced
        return Batch(
            images=images.to(self._dtype),  # of float32: DALI's own half precision is slower on the CPU
            labels=torch.from_numpy(one.labels_B).to(self.device, non_blocking=True),
            indices=torch.from_numpy(one.share.indices_B).to(self.device, non_blocking=True),
            mask=torch.from_numpy(one.share.mask_B).to(self.device, non_blocking=True),
            keys=one.keys,
            extras=one.extras,
        )


def new_graph(plan: PixelPlan, data: NDArray[np.uint8], options: GraphOptions) -> Graph | HostGraph:
    """What computes batches: all of it in DALI, but for the last step on a CPU that nothing follows."""
    if options.device.type == "cpu" and options.operators is None:
        return HostGraph(plan, data, options)
    return Graph(build_graph(plan, options), plan, data)


def _report_mixing(seed: int, num_samples: int, global_batch: int) -> None:
    window, full = (meetings(order(seed, 0, num_samples), global_batch) for order in (window_order, full_order))
    log.info(
        "window order: %.1f %% of the samples meet a stored neighbor in their batch, in full order %.1f %%",
        100 * window,
        100 * full,
    )


def _fingerprint(shard_set: ShardSet) -> str:
    """One hash for the content of all shards, in order."""
    rows = [(shard.name, shard.num_samples, shard.sha256) for shard in shard_set.manifest.shards]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
