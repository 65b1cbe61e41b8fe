"""A network in training: its weights, their optimizer, and the training step."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...pipeline import Batch
from ...prep import ShardSet
from ..network.layers import MaskKey
from ..network.network import Network
from ..network.precision import LossScale
from ..network.wiring import Wiring
from ..processes.layout import Layout
from ..runs.recipe import Recipe
from .groups import group_settings, shown_rate
from .half_copies import HalfCopies, squared_norm
from .optimizer import PaperSGD
from .step import PendingStep, StepClock, StepResult


class Learner:
    """The network of `wiring` and its update by `recipe`, or this process's part of it.

    Args:
        recipe: Seed, batch size, momentum, rates and decays.
        wiring: The network's table.
        num_classes: Outputs of the network.
        layout: Which columns and which replica this process holds.
        device: The device of the network.
        precision: Precision of the multiplications; weights and updates are float32. In bfloat16 the network computes
            with copies of its weights, which every update writes.
        network: A network already built from the other arguments; None builds it here.
    """

    def __init__(
        self,
        recipe: Recipe,
        wiring: Wiring,
        num_classes: int,
        *,
        layout: Layout,
        device: torch.device,
        precision: torch.dtype = torch.float32,
        network: Network | None = None,
    ) -> None:
        self.layout, self.device, self.precision = layout, device, precision
        drawn = network or Network(wiring, num_classes, columns=layout.columns, seed=recipe.training.seed)
        self.network = drawn.to(device)
        self.optimizer = PaperSGD(
            [{"params": [(name, parameter)]} for name, parameter in self.network.named_parameters()], lr=0.0
        )
        self.copies = HalfCopies(self.network) if precision == torch.bfloat16 else None
        self.optimizer.held = self._held = torch.zeros((), dtype=torch.bool, device=device)
        if self.copies is not None:
            self.optimizer.copies = self.copies.by_master
        self.follow(recipe)
        self.scale = LossScale.of(precision)
        self.step = 0

    def follow(self, recipe: Recipe) -> None:
        """Use this recipe's rates, decays and momentum from the next step on."""
        self.recipe = recipe
        self.settings = group_settings(recipe, self.network.wiring)
        for group in self.optimizer.param_groups:
            (name,) = group["param_names"]
            group["weight_decay"] = self.settings[name].weight_decay
            group["momentum"] = recipe.training.momentum

    def shown_rate(self, rate: float, epoch: float) -> float:
        """The learning rate to log when `rate` is the run's; see `groups.shown_rate`."""
        sizes: dict[str, int] = {}
        for size in self.network.sizes:
            sizes |= {f"{size.name}.weight": size.weights, f"{size.name}.bias": size.biases}
        return shown_rate(self.settings, sizes, rate, epoch)

    def train_step(self, batch: Batch, rate: float, epoch: float = 0.0, *, num_images: int | None = None) -> StepResult:
        """Make one update from this replica's local batch; the result is the same in all processes.

        `rate` is the run's learning rate; parameters with absolute rates use those of the fractional `epoch`.
        `num_images` is given for a short batch: the number of images in the global batch whose mask is True; the others
        only pad the replicas' local batches. If the loss or a gradient of any process is not finite, raises InputError
        in all processes and leaves the weights unchanged.
        """
        return self.begin_step(batch, rate, epoch, num_images=num_images).result()

    def begin_step(
        self, batch: Batch, rate: float, epoch: float = 0.0, *, num_images: int | None = None
    ) -> PendingStep:
        """Like `train_step`, but do not wait for the device: it decides itself whether to update the weights.

        Only float16 waits, to learn whether the step must be repeated with a smaller loss scale. After a step that was
        not finite, the steps begun before its result was read change nothing either.
        """
        self.network.train()
        clock = StepClock(self.device) if self.device.type == "cuda" else None
        while True:  # once, unless float16 gradients overflow: then again with a smaller loss scale
            sums = self._gradients(batch, num_images)
            self.layout.add_gradients(self.network)
            pending = PendingStep(
                number=self.step,
                scale=self.scale,
                agreed=self.layout.add_on_device(self._numbers(sums)),
                num_images=num_images or len(batch.labels) * self.layout.num_replicas,
                keys=batch.keys,
                layout=self.layout,
                on_failure=self._go_back,
                clock=clock,
            )
            smaller = self.scale.after_overflow()
            if smaller is None or not pending.overflowed():
                break
            self.scale = smaller
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings[group["param_names"][0]].lr(rate, epoch)
        self._update(pending.agreed.sums)
        if clock is not None:
            clock.end()
        self.scale = self.scale.after_step()
        self.step += 1
        return pending

    def _gradients(
        self, batch: Batch, num_images: int | None, step: int | Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute this replica's scaled gradients; return the sum of the losses and the number of wrong guesses.

        Dropout masks are those of `step`, by default the current one; a tensor if a CUDA graph is captured.
        """
        training = self.recipe.training
        self.network.zero_grad()
        if self.copies is not None:
            self.copies.forget_gradients()
        loss_sum, wrong = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        size = -(-len(batch.labels) // training.accumulate)
        for start in range(0, len(batch.labels), size):
            chunk = slice(start, start + size)
            masks = MaskKey(
                seed=training.seed, step=self.step if step is None else step, indices_N=batch.indices[chunk]
            )
            logits = self._logits(batch.images[chunk], masks)
            mistakes = logits.detach().argmax(1) != batch.labels[chunk]
            if num_images is None:
                losses = F.cross_entropy(logits.float(), batch.labels[chunk], reduction="sum")
            else:
                counts = batch.mask[chunk]
                losses = (F.cross_entropy(logits.float(), batch.labels[chunk], reduction="none") * counts).sum()
                mistakes &= counts
            (losses * self.scale.factor / (num_images or training.batch_size)).backward()  # type: ignore[no-untyped-call]
            loss_sum += losses.detach()
            wrong += mistakes.sum()
            if self.copies is not None and (training.accumulate > 1 or self.layout.num_replicas > 1):
                self.copies.move_gradients()
        return loss_sum, wrong

    def _logits(self, images_NCHW: Tensor, masks: MaskKey) -> Tensor:
        if self.copies is not None:
            return self.copies.forward(images_NCHW, masks)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            logits: Tensor = self.network(images_NCHW, masks)
        return logits

    def _numbers(self, sums: tuple[Tensor, Tensor]) -> Tensor:
        """What the processes sum, see `PendingStep.agreed`, from this process's gradients and `_gradients`' result."""
        own = torch.stack([self._squared_gradient_norm(), *sums]).double()
        squared_and_loss, wrong_1 = own[:2], own[2:]
        finite_2 = squared_and_loss.isfinite()
        numbers = [~finite_2, torch.where(finite_2.all(), squared_and_loss, 0.0), wrong_1]
        return torch.cat(numbers)

    def _update(self, agreed: Tensor) -> None:
        """Update the weights unless this step, or one before it whose result was not read yet, is not finite."""
        self._held |= agreed[:2].any()
        self.optimizer.step()

    def _go_back(self, failed: PendingStep) -> None:
        """Continue from before `failed`: it and the steps begun since have not changed the weights."""
        if failed.number >= self.step:  # begun after another that failed
            return
        self.step, self.scale = failed.number, failed.scale
        self._held.zero_()

    def _squared_gradient_norm(self) -> Tensor:
        """The squared norm of the gradients, after dividing them by the loss scale."""
        found = [self.optimizer.gradient(parameter) for parameter in self.network.parameters()]
        gradients = [gradient for gradient in found if gradient is not None]
        if self.scale.factor != 1.0:
            torch._foreach_mul_(gradients, 1 / self.scale.factor)
        return squared_norm(gradients)

    def whole_weights(self) -> dict[str, Tensor]:
        """Unsharded weights by name; all processes of a replica must call this."""
        return self.layout.whole(self.network.named_parameters(), self.whole_sizes())

    def whole_momentum(self) -> dict[str, Tensor]:
        """Unsharded momentum buffers by name; all processes of a replica must call this."""
        buffers = ((name, self.optimizer.momentum_buffer(x)) for name, x in self.network.named_parameters())
        return self.layout.whole(buffers, self.whole_sizes())

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor], momentum: dict[str, Tensor] | None) -> None:
        """Load this process's slice of unsharded weights and momentum buffers; None leaves the momentum as it is."""
        sizes = self.whole_sizes()
        for name, parameter in self.network.named_parameters():
            own = self.layout.columns.own_slice(sizes[name])
            parameter.copy_(weights[name][own])
            if momentum is not None:
                self.optimizer.momentum_buffer(parameter).copy_(momentum[name][own])
        if self.copies is not None:
            self.copies.refresh()

    def whole_sizes(self) -> dict[str, int]:
        """The first dimension of every unsharded parameter, by name."""
        return {f"{size.name}.{kind}": size.maps for size in self.network.sizes for kind in ("weight", "bias")}


def begin_learner(
    recipe: Recipe, wiring: Wiring, train_set: Path, layout: Layout, device: torch.device, precision: torch.dtype
) -> Callable[[], Learner]:
    """Start building a learner in a thread; the returned function waits for it and returns it.

    Drawing 60 million weights and zeroing as many momenta takes as long as importing DALI and Numba, which can happen
    at the same time. The arguments are those of `Learner`; the outputs are the classes of `train_set`. For a GPU, the
    thread draws the weights, and the rest is built when the returned function is called.
    """
    num_classes = len(ShardSet.open(train_set).manifest.classes)

    def learner(network: Network) -> Learner:
        return Learner(recipe, wiring, num_classes, layout=layout, device=device, precision=precision, network=network)

    def with_momenta() -> Learner:
        made = learner(network.result())
        for parameter in made.network.parameters():
            made.optimizer.momentum_buffer(parameter)
        return made

    thread = ThreadPoolExecutor(1, "alexkit-weights")
    network = thread.submit(Network, wiring, num_classes, columns=layout.columns, seed=recipe.training.seed)
    begun = thread.submit(with_momenta) if device.type == "cpu" else None
    thread.shutdown(wait=False)  # it exits when the work is done
    return begun.result if begun else lambda: learner(network.result())
