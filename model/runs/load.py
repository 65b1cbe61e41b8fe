"""Load recipes by name or from files, and override single keys.

A file lists only the keys that differ from the defaults, or from the recipe named as its `base`; `SECTION.KEY=VALUE`
overrides are applied last.
"""

import tomllib
from collections.abc import Sequence
from typing import Any

from ...errors import InputError
from .about import About
from .checked import from_data
from .recipe import Recipe, RecipeChange
from .recipe_files import built_in_recipes, read_recipe, read_start, read_table, with_changes

__all__ = ["built_in_recipes", "change_recipe", "load_about", "load_base", "load_recipe", "load_start"]


def load_recipe(name_or_file: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a built-in recipe by name, a TOML file or a run's `config.json`, and apply overrides `section.key=value`.

    For a run, this is the recipe with all changes that were made by hand during training; `load_start` tells at which
    steps. Raises InputError if there is no such recipe, the file is not TOML or JSON, or a key or value is wrong.
    """
    data = read_recipe(name_or_file)
    for override in overrides:
        _override(data, override)
    return Recipe.from_json(data, where=name_or_file)


def load_start(name_or_file: str, overrides: Sequence[str] = ()) -> tuple[Recipe, tuple[RecipeChange, ...]]:
    """The recipe a run starts with and the changes at later steps: all that is needed to repeat the run.

    Only a run's `config.json` has changes; changes to an overridden key are left out. Raises InputError as
    `load_recipe` does.
    """
    data, history = read_start(name_or_file)
    for override in overrides:
        _override(data, override)
    recipe = Recipe.from_json(data, where=name_or_file)
    typed = {".".join(override.partition("=")[0].strip().split(".")[:2]) for override in overrides}
    changes = []
    for step, values in history:
        left = {key: value for key, value in values.items() if key not in typed}
        changes += [RecipeChange(step=step, set=left)] if left else []
    made = with_changes(recipe.to_json(), [(change.step, change.set) for change in changes], where=name_or_file)
    Recipe.from_json(made, where=name_or_file)  # checks the changes
    return recipe, tuple(changes)


def load_base(name_or_file: str) -> Recipe:
    """The recipe that another one modifies: its `base`, or the defaults. Raises InputError as `load_recipe` does.

    A run's `config.json` holds every key, so it is its own base.
    """
    if name_or_file.endswith(".json"):
        return load_start(name_or_file)[0]
    base = read_table(name_or_file).get("base")
    return Recipe() if base is None else load_recipe(str(base))


def load_about(name_or_file: str) -> About:
    """A recipe's [about] section, empty if it has none. Raises InputError as `load_recipe` does."""
    return from_data(About, read_table(name_or_file).get("about", {}), where=f"{name_or_file}: [about]")


def change_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Apply overrides `section.key=value` to `recipe`. Raises InputError if one is wrong."""
    data = recipe.to_json()
    for override in overrides:
        _override(data, override)
    return Recipe.from_json(data, where="--set")


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"--set {override}: expected section.key=value, e.g. training.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text  # a bare word may be unquoted on the command line
    *sections, last = key.strip().split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise InputError(f"--set {override}: {section!r} is a key, not a section; expected SECTION.KEY=VALUE")
    data[last] = value
