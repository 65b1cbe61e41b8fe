"""Check whether two runs differ only in the compared keys, so that a difference in results can be attributed to them.

Runs of one recipe may differ only in the compared keys. Published recipes may differ in more, as their authors left
them: two such runs are compared if both are changed from their recipes in the same way, and the other differences are
listed.
"""

import json
from collections.abc import Collection
from functools import cache
from typing import Any

from ...network.tables import wiring
from ...runs.load import built_in_recipes, load_recipe
from ...runs.recipe import Recipe

# Keys that do not affect the weights, or only as a seed does. The recipe's name is in no section; it is compared apart.
BOOKKEEPING = ("training.seed", "training.log", "training.checkpoint_minutes")
# Keys that do not make another experiment of a published one: rounding, validation, and where a predecessor is stored.
INCIDENTAL = (
    "training.precision",
    "training.validate_every",
    "training.start_from",
    "data.validate_on",
    "data.on_error",
)
MAX_VALUE = 20  # characters


def settings_of(recipe: Recipe, *, less: Collection[str] = ()) -> dict[str, Any]:
    """All keys of a recipe as SECTION.KEY with their values as JSON, except `BOOKKEEPING` and the keys `less`."""
    flat: dict[str, Any] = {}
    for section, value in recipe.to_json().items():
        flat |= {f"{section}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {}
    return {key: value for key, value in flat.items() if key not in BOOKKEEPING and key not in less}


def changes_of(recipe: Recipe, *, less: Collection[str] = ()) -> dict[str, Any]:
    """The settings changed from the built-in recipe as SECTION.KEY, except `less` and those that change nothing that
    was published; all settings if there is no such recipe."""
    return _changes(recipe, settings_of(recipe, less=(*less, *INCIDENTAL)))


def changes_in_words(changes: dict[str, Any]) -> str:
    """Changes as `--set` takes them, long values left out: `training.epochs=60, training.param_groups`."""
    words = {key: json.dumps(value) for key, value in changes.items()}
    return ", ".join(key if len(value) > MAX_VALUE else f"{key}={value}" for key, value in words.items())


def also_different(one: Recipe, other: Recipe, compared: Collection[str]) -> list[str] | None:
    """Other differences between two runs than the keys `compared`, in words; None if they cannot be compared."""
    mine, theirs = (settings_of(recipe, less=compared) for recipe in (one, other))
    different = [key for key in mine if mine[key] != theirs[key]]
    if _changes(one, mine) != _changes(other, theirs) or (different and one.name == other.name):
        return None
    return different + _decays(one, other)


def _changes(recipe: Recipe, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that differ from the built-in recipe; all of them if there is no such recipe."""
    own = _built_in_settings(recipe.name)
    return settings if own is None else {key: value for key, value in settings.items() if value != own[key]}


@cache
def _built_in_settings(name: str) -> dict[str, Any] | None:
    """The settings of a built-in recipe, which is read once and not for every pair of runs; None for another name."""
    return settings_of(load_recipe(name)) if name in built_in_recipes() else None


def _decays(one: Recipe, other: Recipe) -> list[str]:
    """Differences between the networks' default weight decays, for layers that both have."""
    if one.training.weight_decay is not None or other.training.weight_decay is not None:
        return []  # the recipe's key applies, and has been compared
    decays = [{layer.name: layer.decay for layer in wiring(recipe.network).layers} for recipe in (one, other)]
    return [
        f"decay of {layer}, {decay:g} against {decays[1][layer]:g}"
        for layer, decay in decays[0].items()
        if decay != decays[1].get(layer, decay)
    ]
