"""One network that learns: its weights, their velocities, and the step that changes them."""

from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import InputError
from ...pipeline import Batch
from ..network.layers import MaskKey
from ..network.network import Network
from ..network.precision import LossScale
from ..network.wiring import Wiring
from ..processes.layout import Layout
from ..runs.recipe import Recipe
from .optimizer import MomentumUpdate, Pace


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """One step over the whole batch; `save` and `stop` tell whether any process wishes it."""

    loss: float
    wrong: int
    images: int
    gradient_norm: float
    save: bool
    stop: bool


class Learner:
    """A network of `wiring`, and its update by `recipe`, in one process or in this process's place among several."""

    def __init__(
        self,
        recipe: Recipe,
        wiring: Wiring,
        num_classes: int,
        *,
        layout: Layout,
        device: torch.device,
        precision: torch.dtype = torch.float32,
    ) -> None:
        self.recipe, self.layout, self.device, self.precision = recipe, layout, device, precision
        self.network = Network(wiring, num_classes, columns=layout.columns, seed=recipe.training.seed).to(device)
        self.update = MomentumUpdate(self.network, paces(recipe, wiring), recipe.training.momentum)
        self.scale = LossScale.of(precision)
        self.step = 0

    def train_step(self, batch: Batch, rate: float, *, save: bool = False, stop: bool = False) -> StepResult:
        """One update from one batch, this replica's share of it; the result is the same in all processes.

        `save` and `stop` are this process's wishes. Raises InputError in all processes, with all weights as they were,
        when the loss or a gradient of any of them is not finite.
        """
        self.network.train()
        result = None
        while result is None:  # once, but for float16 whose gradients overflow: then again with a smaller loss scale
            sums = self._gradients(batch)
            self.layout.add_gradients(self.network)
            result = self._agree(sums, [len(batch.labels), save, stop], batch.keys)
        self.update.apply(rate)
        self.scale = self.scale.after_step()
        self.step += 1
        return result

    def _gradients(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Leave this replica's scaled gradients in the network; sum of losses, number of wrong guesses."""
        training = self.recipe.training
        self.network.zero_grad()
        loss_sum, wrong = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        size = -(-len(batch.labels) // training.accumulate)
        for start in range(0, len(batch.labels), size):
            part = slice(start, start + size)
            masks = MaskKey(seed=training.seed, step=self.step, indices_N=batch.indices[part])
            with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
                logits = self.network(batch.images[part], masks)
            losses = F.cross_entropy(logits.float(), batch.labels[part], reduction="sum")
            (losses * self.scale.factor / training.batch_size).backward()  # type: ignore[no-untyped-call]
            loss_sum += losses.detach()
            wrong += (logits.detach().argmax(1) != batch.labels[part]).sum()
        return loss_sum, wrong

    def begin_epoch(self, epoch: int) -> None:
        """Take the rates that the recipe has in `epoch`, counted from 0; a new learner has those of the first."""
        self.update.paces = paces(self.recipe.at(epoch), self.network.wiring)

    def _agree(self, sums: tuple[Tensor, Tensor], counts: list[int], keys: list[str]) -> StepResult | None:
        """What all processes say together; the only point of a step where the host waits for the device.

        None when a gradient of any of them has overflowed and a smaller loss scale may help; it is then in force.
        """
        squared, loss, wrong = torch.stack([self._squared_gradient_norm(), *sums]).tolist()
        no_loss, no_gradient = not isfinite(loss), not isfinite(squared)
        bad = no_loss or no_gradient
        finite = [0.0, 0.0] if bad else [squared, loss]
        agreed = self.layout.add([no_loss, no_gradient, *finite, wrong, *counts])
        num_losses, num_gradients, squared, loss_sum, wrong, images, save, stop = agreed
        smaller = self.scale.after_overflow()
        if num_gradients and not num_losses and smaller:
            self.scale = smaller
            return None
        if num_losses or num_gradients:
            where = f" (samples {', '.join(keys[:4])}, …)" if bad else ""
            raise InputError(
                f"step {self.step}: the loss or a gradient is not finite{where}; the step was not applied: lower "
                "training.rate, or change network.init"
            )
        # The processes of a replica all report its images; the replicas all report the sum of their gradients.
        parts, replicas = self.layout.num_parts, self.layout.num_replicas
        return StepResult(
            loss=loss_sum / images,
            wrong=round(wrong / parts),
            images=round(images / parts),
            gradient_norm=(squared / replicas) ** 0.5,
            save=save > 0,
            stop=stop > 0,
        )

    def _squared_gradient_norm(self) -> Tensor:
        """Of the gradients as they are without the loss scale, which is taken off here."""
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        if self.scale.factor != 1.0:
            torch._foreach_mul_(gradients, 1 / self.scale.factor)
        return torch.stack(torch._foreach_norm(gradients)).square().sum()

    def whole_weights(self) -> dict[str, Tensor]:
        """Whole weights by name; all processes of a replica must call."""
        return self.layout.whole(self.network.named_parameters(), self.whole_sizes())

    def whole_velocities(self) -> dict[str, Tensor]:
        """Whole velocities by name; all processes of a replica must call."""
        return self.layout.whole(self.update.velocities.items(), self.whole_sizes())

    @torch.no_grad()
    def load(self, weights: dict[str, Tensor], velocities: dict[str, Tensor] | None) -> None:
        """Take this process's part of whole weights and velocities (None: they start at zero)."""
        sizes = self.whole_sizes()
        for name, parameter in self.network.named_parameters():
            part = self.layout.columns.part(sizes[name])
            parameter.copy_(weights[name][part])
            if velocities is not None:
                self.update.velocities[name].copy_(velocities[name][part])

    def whole_sizes(self) -> dict[str, int]:
        """The first dimension of every parameter with all columns together."""
        return {f"{size.name}.{kind}": size.maps for size in self.network.sizes for kind in ("weight", "bias")}


def paces(recipe: Recipe, wiring: Wiring) -> dict[str, Pace]:
    """Every parameter's factor on the rate, and its decay: the table's where it names one, else the recipe's.

    Raises InputError when the recipe names a layer that the table does not have.
    """
    training, result = recipe.training, {}
    names = [row.name for row in wiring.rows]
    for where, rates in (
        ("training.rates", training.rates),
        *(("training.changes.rates", change.rates) for change in training.changes),
    ):
        for name in rates:
            if name not in names:
                raise InputError(f"{where}.{name}: this network has the layers {', '.join(names)}")
    for row in wiring.rows:
        decay = training.weight_decay if row.decay is None else row.decay
        bias_decay = decay if training.decay_biases else 0.0
        rate = training.rates.get(row.name, 1.0)
        result[f"{row.name}.weight"] = Pace(rate=rate, decay=decay)
        result[f"{row.name}.bias"] = Pace(rate=rate * training.bias_rate, decay=bias_decay)
    return result
