"""Loops over a loader: the active one, the loader's position, and how interrupts, threads and forks are handled."""

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
    """The position in a flow of batches, and the one active loop that advances it."""

    def __init__(self, flow: Flow, schedule: Schedule) -> None:
        self._flow: Flow | None = flow
        self._schedule = schedule
        # Position, replaced rows and `resumes`: one object, so that one instruction changes them together.
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
        """The position at the end of the next batch's epoch."""
        return (self.epoch + 1) * self._schedule.epoch_samples

    @property
    def num_replaced(self) -> int:
        """Rows yielded so far in which another sample replaces a corrupt one."""
        return self._progress[1]

    @property
    def resumes(self) -> bool:
        """Whether a state was loaded and no batch taken since: the next loop starts at the current position."""
        return self._progress[2]

    @resumes.setter
    def resumes(self, resumes: bool) -> None:
        self._progress = self.position, self.num_replaced, resumes

    def begin(self) -> Iterator[Batch]:
        """Start a loop that runs to the end of the epoch; an earlier loop ends. Evaluation loops start a new pass."""
        self.require_open()
        before = self._loop()
        thread = threading.current_thread()
        if before is not None and before.is_open and before.thread is not thread and before.thread.is_alive():
            raise InputError(
                f"thread {before.thread.name!r} is iterating this loader, and a loader serves one loop at a time; make "
                f"another loader for thread {thread.name!r}"
            )
        if not self._schedule.training and not self.resumes and self.position % self._schedule.epoch_samples:
            self.move(self.epoch * self._schedule.epoch_samples, resumes=False)
        loop = _Loop(self)
        self._loop = weakref.ref(loop)
        return loop

    def move(self, position: int, *, resumes: bool) -> None:
        """Make the batch that starts at `position` the next one. A loop that has already yielded a batch ends.

        A loop that has yielded none starts at `position`: Lightning calls `iter` before `set_epoch`.
        """
        flow = self.require_open()
        loop = self._loop()
        if loop is None or loop.has_given:
            self._loop = weakref.ref(_NO_LOOP)
        flow.move(position)
        self._progress = position, self.num_replaced, resumes

    def close(self) -> None:
        """Release threads and memory, unless this is a forked process, which does not own them."""
        flow, self._flow = self._flow, None
        if flow is not None and os.getpid() == self._process:
            flow.close()

    def require_open(self) -> Flow:
        """The flow. Raises InputError if the loader is closed, and in a forked process."""
        if self._flow is None:
            raise InputError("this loader is closed; make a new one")
        if os.getpid() != self._process:
            raise InputError(
                f"this loader was made in process {self._process}, and its threads do not survive a fork into process "
                f"{os.getpid()}; make the loader in the process that iterates it, or start processes with 'spawn'"
            )
        return self._flow

    def next(self, loop: "_Loop") -> Batch:
        """The next batch for a loop. Marking it as consumed is the last thing done here."""
        flow = self.require_open()
        if not self._turn.acquire(blocking=False):
            raise InputError(
                f"thread {threading.current_thread().name!r} asks for a batch while another thread is waiting for one; "
                "a loader serves one loop in one thread, so make a loader for each thread"
            )
        try:
            if not self.serves(loop):
                raise InputError(
                    "this loop is over: another loop over this loader has begun, or the loader was moved by "
                    "load_state_dict or set_epoch; start a new loop"
                )
            # Training prepares batches across the end of an epoch; an evaluation prepares none past its own end.
            batch, one = flow.next(self.position, None if self._schedule.training else loop.end)
        finally:
            self._turn.release()
        # Two stores and no call after them: an interrupt comes before, and the batch is yielded again, or after return.
        loop.has_given = True
        self._progress = one.end, self.num_replaced + one.num_replaced, False
        return batch

    def serves(self, loop: "_Loop") -> bool:
        """Whether this loop is the active one."""
        return self._loop() is loop

    def rest(self) -> None:
        """End a pass: release what is not needed until the next one."""
        if self._flow is not None:
            self._flow.rest()


class _Loop(Iterator[Batch]):
    """One `for` loop over a loader, up to the end of its first batch's epoch."""

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
