"""Find recipe keys that have no effect, so that a user who sets one is told.

Two recipes are equivalent if they build the same network, give every parameter the same rates and decays, and agree in
everything else a run reads. Only the table of which schedule uses which key is written by hand.
"""

from typing import Any

from ...errors import InputError
from ..network.tables import wiring
from ..runs.recipe import Recipe
from ..runs.schedule import READ_BY
from .groups import GroupSettings, group_settings

_DECIDED_BY_GROUPS = ("weight_decay", "bias_rate", "decay_biases", "rates", "param_groups")


def refuse_idle_keys(before: Recipe, after: Recipe, *, where: str) -> None:
    """Raise InputError, beginning with `where`, for a key that differs from `before` but has no effect in `after`.

    `where` is where the key was set: a recipe's file, or `--set`.
    """
    old, new = before.to_json(), after.to_json()
    effect = _effect(after)
    for section in ("network", "data", "training", "schedule"):
        for key, value in new[section].items():
            if value == old[section][key] or (key, value) == ("kind", "constant"):
                continue  # a schedule without effect may be called constant
            other = old[section][key]
            if other is None:  # the default may mean the very value that was set, so compare with a different one
                other = value + 1
            without = {**new, section: {**new[section], key: other}}
            try:
                same = _effect(Recipe.from_json(without)) == effect
            except InputError:
                continue  # other keys require it
            if same:
                raise InputError(f"{where}: {section}.{key} has no effect here: {_why(after, section, key)}; remove it")


def _effect(recipe: Recipe) -> tuple[Any, ...]:
    """Everything that a run derives from the recipe."""
    rest = recipe.to_json()
    table = wiring(recipe.network)
    settings = group_settings(recipe, table)
    del rest["network"]
    for key in _DECIDED_BY_GROUPS:
        del rest["training"][key]
    if not recipe.training.start_from:
        del rest["training"]["start_layers"]
    if recipe.data.validate_on == "none":
        del rest["training"]["validate_every"]
    for key, kinds in READ_BY.items():
        if recipe.schedule.kind not in kinds:
            del rest["schedule"][key]
    if _all_have_own_rates(settings):
        del rest["training"]["rate"], rest["schedule"]
    return rest, table, settings


def _all_have_own_rates(settings: dict[str, GroupSettings]) -> bool:
    return all(one.own is not None for one in settings.values())


def _why(recipe: Recipe, section: str, key: str) -> str:
    if section == "schedule" and not _all_have_own_rates(group_settings(recipe, wiring(recipe.network))):
        readers = " and ".join(map(repr, READ_BY[key]))
        return f"schedule.kind is {recipe.schedule.kind!r}, but only {readers} use{'s' * (len(READ_BY[key]) == 1)} it"
    if section == "network":
        return "the network is the same with and without it"
    if key == "start_layers":
        return "it selects layers of training.start_from, which is empty"
    if key == "validate_every":
        return "data.validate_on is 'none'"
    return "training.param_groups sets the rate or decay of every parameter that it applies to"
