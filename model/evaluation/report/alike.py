"""Check whether two runs differ only in the compared keys, so that a difference in results can be attributed to them.

Runs of one recipe may differ only in the compared keys. Published recipes may differ in more, as their authors left
them: two such runs are compared if both are changed from their recipes in the same way, and the other differences are
listed.
"""

from collections.abc import Collection
from typing import Any

from ...network.tables import wiring
from ...runs.load import built_in_recipes, load_recipe
from ...runs.recipe import Recipe

# Keys that do not affect the weights, or only as a seed does. The recipe's name is in no section; it is compared apart.
BOOKKEEPING = ("training.seed", "training.log", "training.checkpoint_minutes")


def settings_of(recipe: Recipe, *, less: Collection[str] = ()) -> dict[str, Any]:
    """All keys of a recipe as SECTION.KEY with their values as JSON, except `BOOKKEEPING` and the keys `less`."""
    flat: dict[str, Any] = {}
    for section, value in recipe.to_json().items():
        flat |= {f"{section}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {}
    return {key: value for key, value in flat.items() if key not in BOOKKEEPING and key not in less}


def also_different(one: Recipe, other: Recipe, compared: Collection[str]) -> list[str] | None:
    """Other differences between two runs than the keys `compared`, in words; None if they cannot be compared."""
    mine, theirs = (settings_of(recipe, less=compared) for recipe in (one, other))
    different = [key for key in mine if mine[key] != theirs[key]]
    if _changes(one, mine) != _changes(other, theirs) or (different and one.name == other.name):
        return None
    return different + _decays(one, other)


def _changes(recipe: Recipe, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that differ from the built-in recipe; all of them if there is no such recipe."""
    if recipe.name not in built_in_recipes():
        return settings
    own = settings_of(load_recipe(recipe.name))
    return {key: value for key, value in settings.items() if value != own[key]}


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
