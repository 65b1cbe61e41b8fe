"""Loops over a loader: which one is being served, where it stands, and what an interrupt, a thread or a fork may do."""

import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any

from ..errors import InputError
from .batch import Batch
from .epochs.schedule import Schedule
from .flow import Flow


class Loops:
    """The position in a flow of batches, and the one loop that moves it."""

    def __init__(self, flow: Flow, schedule: Schedule) -> None:
        self._flow: Flow | None = flow
        self._schedule = schedule
        # Position, replaced rows and `resumes`, in one object so that they change in one instruction.
        self._progress = (0, 0, False)
        self._loop: weakref.ref[_Loop] = weakref.ref(_NO_LOOP)
        self._turn = threading.RLock()
        self._process = os.getpid()

    @property
    def position(self) -> int:
        """Samples consumed, all replicas together."""
        return self._progress[0]

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self._progress[0] // self._schedule.epoch_samples

    @property
    def end_of_epoch(self) -> int:
        """The position after the epoch of the next batch."""
        return (self.epoch + 1) * self._schedule.epoch_samples

    @property
    def num_replaced(self) -> int:
        """Rows handed over so far in which another sample replaces a corrupt one."""
        return self._progress[1]

    @property
    def resumes(self) -> bool:
        """Whether the next loop of an evaluation starts at the position, and not at the start of a pass."""
        return self._progress[2]

    @resumes.setter
    def resumes(self, resumes: bool) -> None:
        self._progress = self.position, self.num_replaced, resumes

    def begin(self) -> Iterator[Batch]:
        """A loop to the end of the epoch, of an evaluation from the start of a pass; one before it is over."""
        self.require_open()
        before = self._loop()
        thread = threading.current_thread()
        if before is not None and before.is_open and before.thread is not thread and before.thread.is_alive():
            raise InputError(
                f"thread {before.thread.name!r} is iterating this loader, and a loader serves one loop; make one for "
                f"thread {thread.name!r} too"
            )
        if not self._schedule.training and not self.resumes and self.position % self._schedule.epoch_samples:
            self.move(self.epoch * self._schedule.epoch_samples, resumes=False)
        loop = _Loop(self)
        self._loop = weakref.ref(loop)
        return loop

    def move(self, position: int, *, resumes: bool) -> None:
        """The next batch is the one that starts at `position`; a loop that has given a batch is over.

        One that has given none starts there: Lightning calls `iter` first and `set_epoch` then.
        """
        flow = self.require_open()
        loop = self._loop()
        if loop is None or loop.has_given:
            self._loop = weakref.ref(_NO_LOOP)
        flow.move(position)
        self._progress = position, self.num_replaced, resumes

    def close(self) -> None:
        """Release threads and memory, unless they are another process's."""
        flow, self._flow = self._flow, None
        if flow is not None and os.getpid() == self._process:
            flow.close()

    def require_open(self) -> Flow:
        """The flow; InputError once it is closed, and in a process that was forked."""
        if self._flow is None:
            raise InputError("this loader is closed; make a new one")
        if os.getpid() != self._process:
            raise InputError(
                f"this loader was made in process {self._process}, and its threads do not survive a fork into process "
                f"{os.getpid()}; make the loader in the process that iterates it, or start processes by 'spawn'"
            )
        return self._flow

    def next(self, loop: "_Loop") -> Batch:
        """The next batch for a loop, which counts as consumed by the last thing done here."""
        flow = self.require_open()
        if not self._turn.acquire(blocking=False):
            raise InputError(
                f"thread {threading.current_thread().name!r} asks for a batch while another thread waits for its own; "
                "a loader serves one loop in one thread"
            )
        try:
            if not self.serves(loop):
                raise InputError("another loop over this loader has begun, or it was moved, so this loop is over")
            # Training never waits at the end of an epoch; evaluation prepares nothing after its end.
            batch, one = flow.next(self.position, None if self._schedule.training else loop.end)
        finally:
            self._turn.release()
        # Two stores, and no call after them: an interrupt comes before, and the batch comes again, or after the return.
        loop.has_given = True
        self._progress = one.end, self.num_replaced + one.num_replaced, False
        return batch

    def serves(self, loop: "_Loop") -> bool:
        """Whether this loop is the one being served."""
        return self._loop() is loop

    def rest(self) -> None:
        """A pass is over: let go of what only the next one needs."""
        if self._flow is not None:
            self._flow.rest()


class _Loop(Iterator[Batch]):
    """One `for` loop over a loader, to the end of the epoch in which its first batch is."""

    def __init__(self, loops: Loops) -> None:
        self._loops = loops
        self.end = 0
        self.is_open = True
        self.has_given = False
        self.thread = threading.current_thread()

    def __next__(self) -> Batch:
        if not self.is_open:
            raise StopIteration
        if not self.has_given:
            self.end = self._loops.end_of_epoch
        if self._loops.position >= self.end and self._loops.serves(self):
            self.is_open = False
            self._loops.rest()
            raise StopIteration
        self.thread = threading.current_thread()
        return self._loops.next(self)


class _NoLoop:
    is_open = False
    has_given = True


_NO_LOOP: Any = _NoLoop()
