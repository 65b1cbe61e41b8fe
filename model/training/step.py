"""The result of a training step, which a GPU may still be computing when the host begins the next step."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...errors import InputError
from ..network.precision import LossScale
from ..processes.layout import DeviceSum, Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """The result of one step over the whole global batch, the same in all processes."""

    loss: float
    """Mean loss over the images, in nats."""
    wrong: int
    """Images whose first guess was wrong."""
    images: int
    """Images in the batch."""
    gradient_norm: float
    """L2 norm of the whole gradient, without the loss scale."""


class StepClock:
    """When a GPU began a step, that is, had its batch, and when it ended it; begins with the constructor."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.current_stream(device)
        self._begun, self._ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        self._begun.record(self._stream)

    def end(self) -> None:
        """The step ends here."""
        self._ended.record(self._stream)

    def idle_s(self, before: "StepClock") -> float:
        """Seconds from the end of the step `before` to the beginning of this one; both must have passed."""
        return float(before._ended.elapsed_time(self._begun)) / 1e3


@dataclass(frozen=True, kw_only=True, slots=True)
class PendingStep:
    """A step whose result the host has not read yet."""

    number: int
    """How many steps were finished before this one."""
    scale: LossScale
    """Its loss scale."""
    agreed: DeviceSum
    """Summed over all processes: non-finite gradients (0 or 1), non-finite losses (0 or 1), the squared gradient norm,
    the loss over all images, and wrong guesses."""
    num_images: int
    """Images in the global batch."""
    keys: list[str]
    """Keys of this replica's images."""
    layout: Layout
    """The processes that agreed."""
    on_failure: Callable[["PendingStep"], None]
    """Called before the exception that ends a step that was not finite."""
    clock: StepClock | None
    """For a step on a GPU, when it ran."""

    def overflowed(self) -> bool:
        """Wait for the device; return whether a gradient of any process is not finite although all losses are."""
        num_gradients, num_losses = self.agreed.read()[0][:2]
        return bool(num_gradients and not num_losses)

    def result(self) -> StepResult:
        """Wait for the device and return the result.

        If the loss or a gradient of any process is not finite, raises InputError in all processes; neither this step
        nor those begun since have changed the weights, and their results are void.
        """
        (num_gradients, num_losses, squared, loss_sum, wrong), mine = self.agreed.read()
        if num_losses or num_gradients:
            self.on_failure(self)
            where = f" (samples {', '.join(self.keys[:4])}, …)" if mine[0] or mine[1] else ""
            raise InputError(
                f"step {self.number}: the loss or a gradient is not finite{where}, so the step was not applied; lower "
                "training.rate or change network.init"
            )
        # The processes of a replica all report its images; the replicas all report the sum of their gradients.
        processes, replicas = self.layout.processes_per_replica, self.layout.num_replicas
        return StepResult(
            loss=loss_sum / processes / self.num_images,
            wrong=round(wrong / processes),
            images=self.num_images,
            gradient_norm=(squared / replicas) ** 0.5,
        )


class PendingSteps:
    """Steps that were begun and not read yet, oldest first; at most `late` of them after every `add`."""

    def __init__(self, late: int) -> None:
        self._late = late
        self._steps: deque[PendingStep] = deque()

    def add(self, step: PendingStep, *, read_all: bool = False) -> list[PendingStep]:
        """Add a step that was begun; return the steps to read now, all of them if `read_all`."""
        self._steps.append(step)
        return self.rest() if read_all else [self._steps.popleft() for _ in range(len(self._steps) - self._late)]

    def rest(self) -> list[PendingStep]:
        """All steps that are left, to be read now."""
        steps = list(self._steps)
        self._steps.clear()
        return steps


def steps_late(device: torch.device) -> int:
    """By how many steps results are read late, so that a GPU has the next step's work before it finishes this one's."""
    return 1 if device.type == "cuda" else 0
