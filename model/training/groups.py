"""Every parameter's learning rate and weight decay, from the recipe and the network's table."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import InputError
from ..network.wiring import Wiring
from ..runs.recipe import ParamGroup, Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupSettings:
    """The learning rate and weight decay of one parameter."""

    factor: float
    """Factor on the run's learning rate, if the parameter follows it: its layer's, times `bias_rate` for biases."""
    weight_decay: float
    """The decay inside the update."""
    own: ParamGroup | None = None
    """The recipe's parameter group whose absolute rates replace the run's, if any."""
    own_factor: float = 1.0
    """Factor on those absolute rates: that of the layer, so that 0 freezes any layer."""

    def lr(self, rate: float, epoch: float) -> float:
        """The learning rate at the fractional `epoch`, when `rate` is the run's."""
        own = None if self.own is None else self.own.rate_at(epoch)
        return rate * self.factor if own is None else own * self.own_factor


def group_settings(recipe: Recipe, wiring: Wiring) -> dict[str, GroupSettings]:
    """The settings of every parameter, by name.

    Raises InputError if the recipe names a layer or a parameter that the network does not have.
    """
    training = recipe.training
    layers = [layer.name for layer in wiring.layers]
    names = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    for name in training.rates:
        if name not in layers:
            raise InputError(f"training.rates.{name}: no such layer; this network has {', '.join(layers)}")
    for group in training.param_groups:
        if not any(group.matches(name) for name in names):
            raise InputError(
                f"training.param_groups: {list(group.match)} matches no parameter; this network has LAYER.weight and "
                f"LAYER.bias for the layers {', '.join(layers)}"
            )
    result = {}
    for layer in wiring.layers:
        decay = layer.decay if training.weight_decay is None else training.weight_decay
        factor = training.rates.get(layer.name, 1.0)
        result[f"{layer.name}.weight"] = _settings(recipe, f"{layer.name}.weight", factor, 1.0, decay)
        bias_decay = decay if training.decay_biases else 0.0
        result[f"{layer.name}.bias"] = _settings(recipe, f"{layer.name}.bias", factor, training.bias_rate, bias_decay)
    return result


def shown_rate(settings: Mapping[str, GroupSettings], sizes: Mapping[str, int], rate: float, epoch: float) -> float:
    """The learning rate to log: the run's or, if no parameter follows it, the rate shared by the most weights.

    Args:
        settings: The settings of every parameter, by name.
        sizes: The sizes of the parameters, by the same names.
        rate: The run's learning rate.
        epoch: Finished epochs, including the fraction of the current one.
    """
    if any(one.own is None for one in settings.values()):
        return rate
    weights_by_rate: dict[float, int] = {}
    for name, one in settings.items():
        weights_by_rate[one.lr(rate, epoch)] = weights_by_rate.get(one.lr(rate, epoch), 0) + sizes[name]
    return max(weights_by_rate, key=weights_by_rate.__getitem__)


def _settings(recipe: Recipe, name: str, layer_factor: float, kind_factor: float, decay: float) -> GroupSettings:
    own = None
    for group in recipe.training.param_groups:
        if group.matches(name):
            own = group if group.rates else own
            decay = decay if group.weight_decay is None else group.weight_decay
    if own is None:
        return GroupSettings(factor=layer_factor * kind_factor, weight_decay=decay)
    return GroupSettings(factor=1.0, weight_decay=decay, own=own, own_factor=layer_factor)
