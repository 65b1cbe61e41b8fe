"""A run folder: what was asked for, on which data, how it went and how it ended.

`config.json` (the resolved recipe and the data's identity), `log.jsonl`, `tensorboard/`, `checkpoints/`, `curves.png`,
`filters.png`, and `result.json` once it is finished.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...prep import Manifest
from ...prep.format.files import whole_file
from .recipe import Recipe

CONFIG, RESULT, LOG, CHECKPOINTS = "config.json", "result.json", "log.jsonl", "checkpoints"
CONFIG_VERSION = 1
MAX_JSON_BYTES = 2**26


@dataclass(frozen=True, kw_only=True, slots=True)
class DataIdentity:
    """Which training set: its class ids in the order of labels, and the hash of its statistics."""

    class_ids: tuple[str, ...]
    statistics_sha256: str

    @classmethod
    def of(cls, manifest: Manifest) -> "DataIdentity":
        """The identity of the training set with this manifest."""
        ids = tuple(entry.id for entry in manifest.classes)
        return cls(class_ids=ids, statistics_sha256=manifest.statistics_sha256)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run folder whose `config.json` has been written or checked."""

    folder: Path
    recipe: Recipe
    data: DataIdentity

    @classmethod
    def start_or_resume(cls, folder: Path, recipe: Recipe, data: DataIdentity) -> "Run":
        """Begin a run in `folder`, or go on with the one that is there.

        Raises InputError when the folder holds a run on other data or with another recipe, or something else.
        """
        if (folder / CONFIG).exists():
            run = cls.open(folder)
            run.require(data)
            difference = _first_difference(run.recipe.to_json(), recipe.to_json())
            if difference:
                raise InputError(
                    f"{folder}: this run was started with {difference}; choose another --name, or the same settings"
                )
            return run
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"{folder}: holds files but no {CONFIG}, so it is no run; choose another --name")
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "version": CONFIG_VERSION,
            "recipe": recipe.to_json(),
            "data": {"class_ids": data.class_ids, "statistics_sha256": data.statistics_sha256},
        }
        write_json(folder / CONFIG, config)
        return cls(folder=folder, recipe=recipe, data=data)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Read a run's configuration; InputError when the folder is not a run."""
        if not (folder / CONFIG).exists():
            raise InputError(f"{folder}: no {CONFIG} here; name a folder that 'alextrain' wrote, e.g. runs/paper")
        config = read_json(folder / CONFIG)
        try:
            if config["version"] != CONFIG_VERSION:
                raise InputError(f"version {config['version']!r}, this alexkit reads {CONFIG_VERSION}")
            recipe = Recipe.from_json(config["recipe"], where=str(folder / CONFIG))
            data = DataIdentity(
                class_ids=tuple(config["data"]["class_ids"]),
                statistics_sha256=str(config["data"]["statistics_sha256"]),
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{folder / CONFIG}: damaged field ({error!r}); restore the file") from None
        return cls(folder=folder, recipe=recipe, data=data)

    def require(self, data: DataIdentity) -> None:
        """Raise InputError when this run was trained on other data."""
        if self.data.class_ids != data.class_ids:
            raise InputError(
                f"{self.folder}: this run is from another dataset ({_some(self.data.class_ids)}) than --shards "
                f"({_some(data.class_ids)}); choose another --name or other --shards"
            )
        if self.data.statistics_sha256 != data.statistics_sha256:
            raise InputError(
                f"{self.folder}: this run is from another dataset than --shards: same classes, other images or other "
                "preparation (the statistics differ); choose another --name or other --shards"
            )

    @property
    def result(self) -> dict[str, Any] | None:
        """What `finish` wrote, None while the run is not finished."""
        return read_json(self.folder / RESULT) if (self.folder / RESULT).exists() else None

    def finish(self, result: dict[str, Any]) -> None:
        """Mark the run as finished."""
        write_json(self.folder / RESULT, result)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file, whole."""
    with whole_file(path) as file:
        file.write(json.dumps(data, indent=1).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; InputError names the file when it is anything else."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{path}: larger than {MAX_JSON_BYTES} bytes; this is no file of ours")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); restore the file") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(data).__name__}; restore the file")
    return data


def _first_difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str | None:
    for key in old | new:  # a table such as training.rates holds only what somebody named
        if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            inner = _first_difference(old[key], new[key], f"{prefix}{key}.")
            if inner:
                return inner
            continue
        before, now = (repr(side[key]) if key in side else "nothing" for side in (old, new))
        if before != now:
            return f"{prefix}{key} = {before}, now {now}"
    return None


def _some(class_ids: tuple[str, ...]) -> str:
    return f"{len(class_ids)} classes: {', '.join(class_ids[:3])}{', …' if len(class_ids) > 3 else ''}"
