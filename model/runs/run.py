"""A run folder: what was asked for, on which data, how it went and how it ended.

`config.json` (the resolved recipe and the data's identity), `statistics.npz` (the training set's, so that the network
can be fed without it), `log.jsonl`, `tensorboard/`, `checkpoints/`, `curves.png`, `filters.png`, and `result.json` once
it is finished.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...prep import PixelOptions, PixelSums, ShardSet
from ...prep.format.files import whole_file
from ...prep.format.manifest import ClassEntry
from .recipe import Recipe

CONFIG, RESULT, LOG, CHECKPOINTS = "config.json", "result.json", "log.jsonl", "checkpoints"
STATISTICS = "statistics.npz"
CONFIG_VERSION = 1
MAX_JSON_BYTES = 2**26


@dataclass(frozen=True, kw_only=True, slots=True)
class DataIdentity:
    """Which training set, and how its images were prepared."""

    class_ids: tuple[str, ...]
    """The class ids in the order of labels."""
    statistics_sha256: str
    """The hash of the set's statistics."""
    class_names: tuple[str, ...] = ()
    """What people call the classes; empty in runs of older versions."""
    pixels: PixelOptions | None = None
    """How an image is prepared; None in runs of older versions."""

    @classmethod
    def of(cls, shard_set: ShardSet) -> "DataIdentity":
        """The identity of this training set."""
        manifest = shard_set.manifest
        return cls(
            class_ids=tuple(entry.id for entry in manifest.classes),
            statistics_sha256=manifest.statistics_sha256,
            class_names=tuple(entry.name for entry in manifest.classes),
            pixels=manifest.pixels,
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "DataIdentity":
        """The inverse of `to_json`; KeyError, TypeError or ValueError when a field is missing or wrong."""
        return cls(
            class_ids=tuple(map(str, data["class_ids"])),
            statistics_sha256=str(data["statistics_sha256"]),
            class_names=tuple(map(str, data.get("class_names", ()))),
            pixels=PixelOptions(**data["pixels"]) if data.get("pixels") else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def classes(self) -> tuple[ClassEntry, ...]:
        """The class table."""
        names = self.class_names or self.class_ids
        return tuple(
            ClassEntry(index=i, id=id, name=name)
            for i, (id, name) in enumerate(zip(self.class_ids, names, strict=True))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A run folder whose `config.json` has been written or checked."""

    folder: Path
    recipe: Recipe
    data: DataIdentity

    @classmethod
    def start_or_resume(cls, folder: Path, recipe: Recipe, shard_set: ShardSet) -> "Run":
        """Begin a run on the training set `shard_set` in `folder`, or resume the one that is there.

        Raises InputError when the folder holds a run on other data or with another recipe, or something else.
        """
        data = DataIdentity.of(shard_set)
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
        statistics = shard_set.sums()
        folder.mkdir(parents=True, exist_ok=True)
        statistics.save(folder / STATISTICS)
        config = {"version": CONFIG_VERSION, "recipe": recipe.to_json(), "data": data.to_json()}
        write_json(folder / CONFIG, config)
        return cls(folder=folder, recipe=recipe, data=data)

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Read a run's configuration; InputError when the folder is not a run."""
        if not (folder / CONFIG).exists():
            raise InputError(f"{folder}: no {CONFIG} here; name a folder that 'alextrain' wrote, e.g. runs/paper")
        config = read_json(folder / CONFIG)
        if config.get("version") != CONFIG_VERSION:
            raise InputError(
                f"{folder / CONFIG}: version {config.get('version')!r}, this alexkit reads {CONFIG_VERSION}; use the "
                "one that wrote it"
            )
        try:
            recipe_json = config["recipe"]
            data = DataIdentity.from_json(config["data"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{folder / CONFIG}: damaged field ({error!r}); restore the file") from None
        recipe = Recipe.from_json(recipe_json, where=str(folder / CONFIG))
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
    def statistics(self) -> PixelSums | None:
        """The training set's statistics; None in runs of older versions."""
        return PixelSums.load(self.folder / STATISTICS) if (self.folder / STATISTICS).exists() else None

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
