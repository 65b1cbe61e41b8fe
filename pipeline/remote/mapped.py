"""Which shards of a remote set are mapped: those in use, and as many of the next ones as the limit allows.

The set keeps one range of addresses. A shard is mapped to its place in this range once it is complete, and replaced by
an empty mapping once no batch needs it. Order, random draws and graph are unaffected.
"""

import errno
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..addresses import map_empty, map_file
from ..epochs.order import WINDOW_SHARDS
from ..epochs.schedule import Schedule
from ..storage import Samples
from .lifetimes import Lifetimes
from .remote_set import RemoteSet

THREADS = WINDOW_SHARDS  # the first batch needs all shards of a window
SHARDS_AHEAD = 2 * WINDOW_SHARDS  # the window in use and the next one
IN_FLIGHT_BATCHES = 6  # what the loader checks ahead and what its backend computes


class RemoteShards:
    """The shards of one loader. Call `prepare` before each batch is fed. Not thread-safe."""

    def __init__(self, remote: RemoteSet, schedule: Schedule, samples: Samples) -> None:
        self.remote = remote
        self._schedule = schedule
        shards = remote.shard_set.manifest.shards
        self._first_sample_S = np.cumsum([0, *(shard.num_samples for shard in shards)])
        self._sizes = [shard.num_bytes for shard in shards]
        self._room = remote.cache.limit_bytes - remote.cache.usage().small_files
        self._fits = sum(self._sizes) <= self._room
        self._room_ahead = self._room * 2 // 3  # the rest is for batches in flight, and for an evaluation meanwhile
        try:
            self._refuse_too_small_a_limit()
        except InputError:
            remote.close()
            raise
        self._addresses = (samples.data.ctypes.data + samples.shard_starts).tolist()
        samples.on_demand, samples.on_corrupt = self._require, self._restore
        self._mapped: set[int] = set()
        self._coming: dict[int, Future[Path]] = {}
        self._in_flight: deque[tuple[int, set[int]]] = deque()
        self._lifetimes: dict[int, Lifetimes] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="alexkit-fetch")

    def prepare(self, indices: NDArray[np.int64], *, feeding: int, received: int) -> None:
        """Map the shards of these samples, drop those no longer needed, and start fetching the next ones.

        Args:
            indices: The samples of the batch that is fed next.
            feeding: Position of that batch.
            received: Position up to which batches were returned.

        Raises:
            OSError: If a shard cannot be fetched, or there is no room for it.
        """
        while self._in_flight and (self._in_flight[0][0] <= received or self._in_flight[-1][0] > feeding):
            self._in_flight.popleft()  # returned or discarded
        if self._fits and len(self._mapped) == len(self._sizes):
            return  # the whole set is mapped and stays so: from now on it costs no more than a local one
        needed = set((np.searchsorted(self._first_sample_S, indices, side="right") - 1).tolist())
        in_use = needed | {number for _, shards in self._in_flight for number in shards}
        wanted = self._with_room(self._wanted(feeding), in_use)
        self._in_flight.append((self._schedule.after(feeding), needed))
        if not self._fits:
            self._drop(self._mapped - in_use - set(wanted))
        self._collect(in_use | set(wanted))
        self._fetch(needed, wanted)
        for number in sorted(needed - self._mapped):
            self._map(number, self._await(number))

    def rest(self) -> None:
        """Drop all shards: no batch is under way, and the next one may be requested much later."""
        self._in_flight.clear()
        for future in self._coming.values():
            future.cancel()
        self._collect(set())
        self._drop(set(self._mapped))

    def close(self) -> None:
        """Stop fetching and release the cache. Mapped shards stay readable until the addresses are released."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.remote.close()
        self._threads.shutdown()

    def _wanted(self, position: int) -> list[int]:
        """The shards to keep or fetch, in order of use: those of this epoch and, when training, of the next."""
        epoch, start = divmod(position, self._schedule.epoch_samples)
        found = self._lifetimes_of(epoch).wanted(start, SHARDS_AHEAD)
        if self._schedule.training and len(found) < SHARDS_AHEAD:
            following = self._lifetimes_of(epoch + 1).wanted(0, SHARDS_AHEAD)
            found += [number for number in following if number not in found][: SHARDS_AHEAD - len(found)]
        return found

    def _with_room(self, wanted: list[int], in_use: set[int]) -> list[int]:
        """As many of the wanted shards, the next ones first, as fit beside those in use.

        The rest must go even if mapped: a set of few shards would otherwise keep all of them for the next epoch.
        """
        if self._fits:
            return wanted
        held = sum(self._sizes[number] for number in in_use)
        for count, number in enumerate(wanted):
            held += 0 if number in in_use else self._sizes[number]
            if held > self._room_ahead:
                return wanted[:count]
        return wanted

    def _lifetimes_of(self, epoch: int) -> Lifetimes:
        if epoch not in self._lifetimes:
            self._lifetimes = {e: one for e, one in self._lifetimes.items() if abs(e - epoch) <= 1}
            self._lifetimes[epoch] = Lifetimes.of(self._schedule.epoch_indices(epoch), self._first_sample_S)
        return self._lifetimes[epoch]

    def _require(self, number: int) -> None:
        """Map a shard out of turn, for a sample that replaces a corrupt one."""
        if number not in self._mapped:
            self._in_flight[-1][1].add(number)
            self._fetch({number}, [])
            self._map(number, self._await(number))

    def _restore(self, indices: Iterable[int]) -> None:
        """Remap the shards of these samples; those whose copies in the cache are damaged are fetched again first."""
        for number in set((np.searchsorted(self._first_sample_S, list(indices), side="right") - 1).tolist()):
            self._map(number, self.remote.fetch_sound(number))

    def _collect(self, useful: set[int]) -> None:
        """Map the shards that have arrived; release those that are no longer useful."""
        for number, future in list(self._coming.items()):
            if future.done():
                del self._coming[number]
                if not future.cancelled() and future.exception() is None:
                    if number in useful:
                        self._map(number, future.result())
                    else:
                        self.remote.release(number)

    def _fetch(self, needed: set[int], wanted: list[int]) -> None:
        held = sum(self._sizes[number] for number in self._mapped | self._coming.keys())
        for number in [*sorted(needed), *wanted]:
            if number in self._mapped or number in self._coming:
                continue
            held += self._sizes[number]
            if number in needed or self._fits or held <= self._room_ahead:
                self._coming[number] = self._threads.submit(self.remote.fetch, number, wait_s=0)

    def _await(self, number: int) -> Path:
        """The path of a shard that the next batch needs."""
        future = self._coming.pop(number)
        if not future.cancel():
            try:
                return future.result()
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        return self.remote.fetch(number)  # in this thread, waiting for room

    def _map(self, number: int, path: Path) -> None:
        map_file(self._addresses[number], path, self._sizes[number])
        self._mapped.add(number)

    def _drop(self, numbers: set[int]) -> None:
        for number in numbers:
            map_empty(self._addresses[number], self._sizes[number])
            self._mapped.discard(number)
            self.remote.release(number)

    def _refuse_too_small_a_limit(self) -> None:
        order, url = self._schedule.order, self.remote.shard_set.url
        room = f"the cache limit of {self.remote.cache.limit_bytes} leaves {self._room} bytes beside indexes"
        if self._fits:
            return
        if order in ("full", "window"):
            raise InputError(
                f"{url}: order={order!r} uses all shards at any time, {sum(self._sizes)} bytes, but {room}; raise the "
                "limit or choose order='shards'"
            )
        largest = sorted(self._sizes, reverse=True)
        # The batches under way at one time span this many shards, including partial ones at both ends.
        used = IN_FLIGHT_BATCHES * self._schedule.global_batch * len(largest) // self._schedule.num_samples + 2
        count, what = used, f"{used} shards, which the batches under way may span,"
        if order == "shards":
            windows = max(3, -(-used // WINDOW_SHARDS) + 2)
            count, what = windows * WINDOW_SHARDS, f"{windows} windows of order='shards'"
        if self._room < (least := sum(largest[:count])):
            raise InputError(
                f"{url}: {what} are up to {least} bytes, but {room}; raise the limit, or write smaller shards "
                "(--images-per-shard)"
            )
