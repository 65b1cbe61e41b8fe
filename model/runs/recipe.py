"""A recipe: everything that shapes a training run, as TOML and as frozen dataclasses that check themselves.

Defaults are the paper's. A file names only what departs from them; `KEY.NAME=VALUE` overrides come last. The resolved
recipe in a run folder reproduces the run.
"""

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ...errors import InputError
from ...pipeline import Mean, TrainAugment
from ..network.wiring import Switches
from .bounds import require, require_all
from .schedule import Schedule

MAX_RECIPE_BYTES = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """How images are presented: the crop's side in px and the choices of `alexkit.pipeline.TrainAugment`."""

    crop: int = 224
    flip: bool = True
    jitter: Literal["paper", "original", "off"] = "paper"
    mean: str | float = "center"
    crop_draw: Literal["image", "group32"] = "image"
    order: Literal["full", "window"] = "full"

    def __post_init__(self) -> None:
        if isinstance(self.mean, float):
            require("data.mean", self.mean)

    def augment(self) -> TrainAugment:
        """The same choices as the loader takes them."""
        return TrainAugment(
            crop=self.crop,
            flip=self.flip,
            jitter=self.jitter,
            mean=typing.cast(Mean, self.mean),
            crop_draw=self.crop_draw,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is different from the start of `epoch` on, counted from 0; what is not named stays as it was.

    `rates`: factors on the learning rate for the layers named. `bias_rate` and `jitter`: as in `Training` and `Data`.
    """

    epoch: int
    rates: dict[str, float] = field(default_factory=dict)
    bias_rate: float | None = None
    jitter: Literal["paper", "original", "off"] | None = None

    def __post_init__(self) -> None:
        factors = {f"rates.{layer}": factor for layer, factor in self.rates.items()}
        for name, factor in (factors if self.bias_rate is None else {**factors, "bias_rate": self.bias_rate}).items():
            require(f"training.changes.{name}", factor, at_least=0)


_TRAINING_BOUNDS: dict[str, dict[str, float]] = {
    **{key: {"at_least": 1} for key in ("epochs", "batch_size", "accumulate", "validate_every")},
    **{key: {"at_least": 0} for key in ("seed", "weight_decay", "bias_rate", "checkpoint_minutes")},
    "rate": {"above": 0},
    "momentum": {"at_least": 0, "below": 1},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Length, batch and precision of a run, and the constants of the update.

    `batch_size` counts images per update over all processes. `rate` is the learning rate at the start; biases learn
    `bias_rate` times as fast and decay only with `decay_biases`. `accumulate`: parts a batch is computed in.
    `checkpoint_minutes`: at most so long between checkpoints; one is also written after every epoch. `start_from`: a
    run folder, safetensors file or .caffemodel whose weights all layers but the last start with. `rates`: factors on
    the learning rate by layer, 0 for a frozen one. `changes`: what is changed on the way.
    """

    epochs: int = 90
    batch_size: int = 128
    seed: int = 0
    rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 0.0005
    bias_rate: float = 1.0
    decay_biases: bool = False
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    accumulate: int = 1
    checkpoint_minutes: float = 10.0
    validate_every: int = 1
    start_from: str = ""
    rates: dict[str, float] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()

    def __post_init__(self) -> None:
        require_all("training", self, _TRAINING_BOUNDS)
        for layer, factor in self.rates.items():
            require(f"training.rates.{layer}", factor, at_least=0)
        if self.batch_size % self.accumulate:
            raise InputError(f"training.batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}")
        starts = [change.epoch for change in self.changes]
        if starts != sorted(set(starts)) or (starts and starts[0] < 1):
            raise InputError(f"training.changes: their epochs must rise and begin at 1 or later, got {starts}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A whole recipe; `name` is its file's name and the run's default name."""

    name: str = "paper"
    network: Switches = field(default_factory=Switches)
    data: Data = field(default_factory=Data)
    training: Training = field(default_factory=Training)
    schedule: Schedule = field(default_factory=Schedule)

    def at(self, epoch: int) -> "Recipe":
        """This recipe as `training.changes` have it in `epoch`, counted from 0."""
        data, training = self.data, self.training
        for change in self.training.changes:
            if change.epoch <= epoch:
                training = replace(training, rates={**training.rates, **change.rates})
                if change.bias_rate is not None:
                    training = replace(training, bias_rate=change.bias_rate)
                if change.jitter is not None:
                    data = replace(data, jitter=change.jitter)
        return replace(self, data=data, training=training)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Recipe.from_json` is the inverse."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any], *, where: str = "recipe") -> "Recipe":
        """Check and build. Raises InputError for an unknown key, with the nearest known one, and for a wrong value."""
        result: Recipe = _build(cls, data, where, "")
        return result


def built_in_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = files("alexkit.model.recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_recipe(name_or_file: str, overrides: Sequence[str] = ()) -> Recipe:
    """A built-in recipe by name, a TOML file, or a run's `config.json`, with overrides `section.key=value` applied.

    Raises InputError when there is no such recipe, the file is not TOML or JSON, or a key or value is wrong.
    """
    path = Path(name_or_file)
    if name_or_file in built_in_recipes():
        text = (files("alexkit.model.recipes") / f"{name_or_file}.toml").read_text()
    elif path.suffix in (".toml", ".json") and path.is_file():
        if path.stat().st_size > MAX_RECIPE_BYTES:
            raise InputError(f"{path}: larger than {MAX_RECIPE_BYTES} bytes; this is not a recipe")
        try:
            text = path.read_text()
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a text file ({error})") from None
    else:
        raise InputError(
            f"no recipe {name_or_file!r}; choose one of {', '.join(built_in_recipes())}, or name a .toml file that "
            "exists or a run's config.json"
        )
    data = _parsed(text, path)
    data.setdefault("name", path.stem)
    for override in overrides:
        _override(data, override)
    return Recipe.from_json(data, where=name_or_file)


def _parsed(text: str, path: Path) -> dict[str, Any]:
    if path.suffix != ".json":
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
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
    except tomllib.TOMLDecodeError:
        value = text  # a bare word needs no quotes on a command line
    *sections, last = key.strip().split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise InputError(f"--set {override}: {section!r} is no section")
    data[last] = value


def _build(cls: type[Any], data: Any, where: str, prefix: str) -> Any:
    if not isinstance(data, Mapping):
        raise InputError(f"{where}: {prefix.rstrip('.') or 'a recipe'} must be a table of keys, got {data!r}")
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in data.items():
        if key not in hints:
            raise InputError(f"{where}: unknown key {prefix}{key}; the nearest is {_nearest(key, prefix, list(hints))}")
        values[key] = _value(hints[key], value, where, f"{prefix}{key}")
    for item in dataclasses.fields(cls):
        if item.name not in values and item.default is MISSING and item.default_factory is MISSING:
            raise InputError(f"{where}: {prefix}{item.name} is missing; it has no default")
    return cls(**values)


def _nearest(key: str, prefix: str, names: list[str]) -> str:
    """The known key that was probably meant: the same word in another section, else the likest of this one."""
    sections = {"network": Switches, "data": Data, "training": Training, "schedule": Schedule}
    for section, cls in sections.items():
        if key in (item.name for item in dataclasses.fields(cls)):
            return f"{section}.{key}"
    return prefix + difflib.get_close_matches(key, names, n=1, cutoff=0.0)[0]


def _value(hint: Any, value: Any, where: str, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where, f"{name}.")
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if type(None) in choices:  # a key that may be left out; TOML has no word for it, the JSON of a run folder has null
        return None if value is None else _value(typing.Union[choices[:-1]], value, where, name)  # noqa: UP007
    if origin is Literal:
        if value not in choices:
            raise InputError(f"{where}: {name} must be one of {', '.join(map(str, choices))}, got {value!r}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where}: {name} must be a list, got {value!r}")
        return tuple(_value(choices[0], item, where, name) for item in value)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: {name} must be a table of keys, got {value!r}")
        return {key: _value(choices[1], item, where, f"{name}.{key}") for key, item in value.items()}
    allowed = choices if origin in (types.UnionType, typing.Union) else (hint,)
    # In TOML 1 is an integer and true is not; a float key takes both 1 and 1.0, an integer key no boolean.
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        kinds = " or ".join(kind.__name__ for kind in allowed)
        raise InputError(f"{where}: {name} must be {kinds}, got {value!r}")
    return value
