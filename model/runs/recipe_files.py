"""Read recipe files, by name or path, as plain data, merged with the recipe they name as their `base`.

Keys are not checked here, so that listing recipes loads nothing but the files.
"""

import difflib
import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...errors import InputError

MAX_RECIPE_BYTES = 2**20
# The released code's numbers of its networks, for those that are called by the claim they test.
OTHER_NAMES = {"145": "original", "145-2010": "t1", "145-half": "b1", "147": "b3", "148": "b2"}
Changes = list[tuple[int, dict[str, Any]]]  # finished steps, and new values by `section.key`


def built_in_recipes() -> list[str]:
    """Names of the recipes included in the package."""
    folder = files("alexkit.model.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def recipe_names() -> list[str]:
    """Everything that names a built-in recipe: `built_in_recipes` and `OTHER_NAMES`."""
    return sorted([*built_in_recipes(), *OTHER_NAMES])


def read_recipe(name_or_file: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """The keys of a recipe, including those of its `base`. Raises InputError if it is not a recipe or its own base."""
    name_or_file = OTHER_NAMES.get(name_or_file, name_or_file)
    if name_or_file in seen:
        raise InputError(f"{name_or_file}: is its own base ({' → '.join([*seen, name_or_file])})")
    data = read_table(name_or_file, where=f"{seen[-1]}: base: " if seen else "")
    data.pop("about", None)
    base = data.pop("base", None)
    data.setdefault("name", Path(name_or_file).stem)
    return data if base is None else _merged(read_recipe(str(base), (*seen, name_or_file)), data)


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Merge the keys of `own` into `base`, table by table."""
    inner = {key: _merged(base[key], own[key]) for key in own if isinstance(own[key], dict) and key in base}
    return {**base, **own, **inner}


def read_table(name_or_file: str, where: str = "") -> dict[str, Any]:
    """The keys in one recipe's file; for a run's `config.json`, after all changes made by hand.

    Raises InputError, whose message begins with `where`, if it is not a recipe.
    """
    name_or_file = OTHER_NAMES.get(name_or_file, name_or_file)
    return _parsed(_text(name_or_file, where), Path(name_or_file))


def _text(name_or_file: str, where: str = "") -> str:
    path = Path(name_or_file)
    if name_or_file in built_in_recipes():
        return (files("alexkit.model.recipes") / f"{name_or_file}.toml").read_text(encoding="utf-8")
    if path.suffix in (".toml", ".json") and path.is_file():
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise InputError(f"{path}: larger than {MAX_RECIPE_BYTES} bytes; this is not a recipe")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a text file ({error})") from None
    raise InputError(f"{where}{_no_recipe(name_or_file)}")


def _no_recipe(name_or_file: str) -> str:
    """Why this is not a recipe, and what was probably meant."""
    path = Path(name_or_file)
    if path.suffix in (".toml", ".json"):
        return f"no such file {name_or_file!r}; 'alextrain recipes' lists the built-in recipes"
    if path.exists():
        return f"{name_or_file!r} is not a recipe; name a .toml file or the config.json of a run folder"
    near = ", ".join(difflib.get_close_matches(name_or_file, recipe_names(), n=3, cutoff=0.5))
    meant = f"did you mean {near}? " if near else ""
    return f"no recipe {name_or_file!r}; {meant}'alextrain recipes' lists all; a recipe file must end in .toml"


def _parsed(text: str, path: Path) -> dict[str, Any]:
    if path.suffix != ".json":
        try:
            return tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: not TOML: {error}") from None
    recipe, changes = _parsed_config(text, path)
    return with_changes(recipe, changes, where=str(path))


def read_start(name_or_file: str) -> tuple[dict[str, Any], Changes]:
    """The initial recipe of a run that is repeated, and its changes by step.

    A `config.json` holds the changes made by hand; any other recipe is read by `read_recipe` and has none.
    """
    path = Path(name_or_file)
    if path.suffix != ".json":
        return read_recipe(name_or_file), []
    recipe, changes = _parsed_config(_text(name_or_file), path)
    with_changes(recipe, changes, where=str(path))  # raises if a changed key does not exist
    return recipe, changes


def with_changes(recipe: dict[str, Any], changes: Changes, *, where: str) -> dict[str, Any]:
    """A recipe after these changes. Raises InputError, beginning with `where`, for a key that the recipe lacks."""
    changed = {section: dict(keys) if isinstance(keys, dict) else keys for section, keys in recipe.items()}
    for _, values in changes:
        for key, value in values.items():
            section, _, name = key.partition(".")
            if not isinstance(table := changed.get(section), dict) or name not in table:
                raise InputError(
                    f"{where}: damaged field (history changes {key[:80]!r}, which is not a key of a recipe); restore "
                    "the file"
                )
            table[name] = value
    return changed


def read_changes(history: Any) -> Changes:
    """Parse the `history` of a config.json. Raises KeyError, TypeError or ValueError if it is malformed."""
    return [(int(entry["step"]), dict(entry["set"])) for entry in history]


def _parsed_config(text: str, path: Path) -> tuple[dict[str, Any], Changes]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("recipe"), dict):
        raise InputError(f"{path}: contains no recipe; name the config.json of a run folder")
    try:
        return config["recipe"], read_changes(config.get("history", ()))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"{path}: damaged field (history); restore the file") from None
