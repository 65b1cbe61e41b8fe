"""Recipes by name or from files, with single keys overridden.

A file names only what departs from the defaults, or from the recipe that it names as its `base`; `KEY.NAME=VALUE`
overrides come last.
"""

import difflib
import json
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...errors import InputError
from .about import About
from .checked import from_data
from .recipe import Recipe

MAX_RECIPE_BYTES = 2**20


def built_in_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = files("alexkit.model.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_file: str, overrides: Sequence[str] = ()) -> Recipe:
    """A built-in recipe by name, a TOML file, or a run's `config.json`, with overrides `section.key=value` applied.

    Raises InputError when there is no such recipe, the file is not TOML or JSON, or a key or value is wrong.
    """
    data = _read(name_or_file)
    for override in overrides:
        _override(data, override)
    return Recipe.from_json(data, where=name_or_file)


def load_base(name_or_file: str) -> Recipe:
    """What a recipe departs from: its `base`, or the defaults. InputError as in `load_recipe`.

    A run's `config.json` holds every key, so it departs from nothing and is its own base.
    """
    if name_or_file.endswith(".json"):
        return load_recipe(name_or_file)
    base = _table(name_or_file).get("base")
    return Recipe() if base is None else load_recipe(str(base))


def load_about(name_or_file: str) -> About:
    """What a recipe says about itself in its [about]; empty where it says nothing. InputError as in `load_recipe`."""
    return from_data(About, _table(name_or_file).get("about", {}), where=f"{name_or_file}: [about]")


def _read(name_or_file: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The keys of a recipe, those of its `base` included."""
    if name_or_file in seen:
        raise InputError(f"{name_or_file}: is its own base ({' → '.join([*seen, name_or_file])})")
    data = _table(name_or_file, where=f"{seen[-1]}: base: " if seen else "")
    data.pop("about", None)
    base = data.pop("base", None)
    data.setdefault("name", Path(name_or_file).stem)
    return data if base is None else _merged(_read(str(base), (*seen, name_or_file)), data)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `own` put in, table by table."""
    inner = {key: _merged(base[key], own[key]) for key in own if isinstance(own[key], dict) and key in base}
    return {**base, **own, **inner}


def _table(name_or_file: str, where: str = "") -> dict[str, Any]:
    path = Path(name_or_file)
    if name_or_file in built_in_recipes():
        text = (files("alexkit.model.recipes") / f"{name_or_file}.toml").read_text(encoding="utf-8")
    elif path.suffix in (".toml", ".json") and path.is_file():
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise InputError(f"{path}: larger than {MAX_RECIPE_BYTES} bytes; this is not a recipe")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a text file ({error})") from None
    else:
        raise InputError(f"{where}{_no_recipe(name_or_file)}")
    return _parsed(text, path)


def _no_recipe(name_or_file: str) -> str:
    """Why this is none, and what was probably meant."""
    path = Path(name_or_file)
    if path.suffix in (".toml", ".json"):
        return f"no such file {name_or_file!r}; 'alextrain recipes' lists the recipes that come with alexkit"
    if path.exists():
        return f"{name_or_file!r} is no recipe; name a .toml file, or the config.json of a run folder"
    near = ", ".join(difflib.get_close_matches(name_or_file, built_in_recipes(), n=3, cutoff=0.5))
    meant = f"perhaps {near}; " if near else ""
    return f"no recipe {name_or_file!r}; {meant}'alextrain recipes' lists all, and the name of a file ends in .toml"


def change_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """`recipe` with overrides `section.key=value` applied; InputError when one is wrong."""
    data = recipe.to_json()
    for override in overrides:
        _override(data, override)
    return Recipe.from_json(data, where="--set")


def _parsed(text: str, path: Path) -> dict[str, Any]:
    if path.suffix != ".json":
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not TOML: {error}") from None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("recipe"), dict):
        raise InputError(f"{path}: holds no recipe; name the config.json of a run folder")
    recipe: dict[str, Any] = config["recipe"]
    return recipe


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise InputError(f"--set {override}: expected section.key=value, e.g. training.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text  # a bare word needs no quotes on a command line
    *sections, last = key.strip().split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise InputError(f"--set {override}: {section!r} is a key, not a section; expected SECTION.KEY=VALUE")
    data[last] = value
