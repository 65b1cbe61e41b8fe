"""A run folder: what was asked for, on which data, how it went and how it ended.

`config.json` (the resolved recipe, what was changed in it on the way, and the data's identity), `statistics.npz` (the
training set's, so that the network can be fed without it), `checkpoints/`, and the records `log.jsonl`, `tensorboard/`,
`starts.jsonl`, `curves.png`, `filters.png` and `result.json` once it is finished: nothing of these is needed to resume.
"""

import json
import logging
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...prep import PixelOptions, PixelSums, ShardSet
from ...prep.format.files import whole_file
from ...prep.format.manifest import ClassEntry
from .checked import in_words, is_number
from .checkpoint import checkpoint_folders, newest_checkpoint, step_of
from .lock import LOCK
from .provenance import STARTS
from .recipe import Recipe, RecipeChange
from .recipe_files import read_changes, with_changes

CONFIG, RESULT, LOG, CHECKPOINTS = "config.json", "result.json", "log.jsonl", "checkpoints"
STATISTICS, DAMAGED_LOG = "statistics.npz", "log.damaged"
PICTURES = ("curves.png", "filters.png")
CONFIG_VERSION = 1
MAX_JSON_BYTES = 2**26
# What makes another run of it: keys, and whole sections, that cannot change on the way.
FIXED = ("name", "network", "data.crop", "data.mean", "data.order", "data.drop_last", "training.batch_size",
         "training.seed", "training.precision", "training.start_from", "training.start_layers")  # fmt: skip

log = logging.getLogger(__name__)


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
        class_ids = _texts("class_ids", data["class_ids"])
        class_names = _texts("class_names", data.get("class_names", []))
        if class_names and len(class_names) != len(class_ids):
            raise ValueError(f"{len(class_names)} class_names for {len(class_ids)} class_ids")
        return cls(
            class_ids=class_ids,
            statistics_sha256=str(data["statistics_sha256"]),
            class_names=class_names,
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
    """What the run was started with."""
    data: DataIdentity
    history: tuple[RecipeChange, ...] = ()
    """What was changed since, in the order of steps."""

    @classmethod
    def start_or_resume(
        cls,
        folder: Path,
        recipe: Recipe,
        shard_set: ShardSet,
        *,
        change: bool = False,
        restart: bool = False,
        history: tuple[RecipeChange, ...] = (),
    ) -> "Run":
        """Begin a run on the training set `shard_set` in `folder`, or resume the one that is there.

        A run that ended before its first checkpoint is begun anew. With `change` a recipe that differs in keys that may
        change on the way takes effect from the step that the run stands at; a finished run may go on for more epochs
        without it. With `restart` what the folder holds is given up. A run that is begun makes the changes of `history`
        at their steps: another run's, which it repeats.

        Raises InputError when the folder holds a run on other data or with another recipe, or something else.
        """
        data = DataIdentity.of(shard_set)
        begun = bool(checkpoint_folders(folder / CHECKPOINTS)) or (folder / RESULT).exists()
        if begun and not restart:
            run = cls.open(folder)
            run.require(data)
            return run._with(recipe, change)
        if change:
            raise InputError(f"{folder}: no run with a checkpoint is here to be changed; start one without --change")
        ours = {CONFIG, STATISTICS, LOG, DAMAGED_LOG, STARTS, RESULT, CHECKPOINTS, LOCK, "tensorboard"}
        if not (folder / CONFIG).exists() and folder.exists():
            others = sorted(path.name for path in folder.iterdir() if path.name not in ours)
            if others:
                raise InputError(
                    f"{folder}: holds {', '.join(others[:3])} but no {CONFIG}, so it is no run; choose another --name"
                )
        statistics = shard_set.sums()
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / name for name in (*PICTURES, *ours - {LOCK})):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        statistics.save(folder / STATISTICS)
        run = cls(folder=folder, recipe=recipe, data=data, history=history)
        run._write()
        return run

    @classmethod
    def recipe_to_resume(cls, folder: Path, recipe: Recipe) -> Recipe:
        """The recipe in force where the run in `folder` stands, when `recipe` would resume it; else `recipe`.

        Only names of checkpoints are looked at: where the newest is damaged, the run stands at an earlier one.
        """
        if not (checkpoints := checkpoint_folders(folder / CHECKPOINTS)):
            return recipe
        run = cls.open(folder)
        return run.recipe_at(step_of(checkpoints[-1])) if recipe in (run.recipe, run.recipe_at()) else recipe

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Read a run's configuration; InputError when the folder is not a run."""
        if not (folder / CONFIG).exists():
            found = f"no {CONFIG} here" if folder.exists() else "no such file or folder"
            raise InputError(f"{folder}: {found}; name a folder that 'alextrain' wrote, e.g. runs/original")
        config = read_json(folder / CONFIG)
        if config.get("version") != CONFIG_VERSION:
            raise InputError(
                f"{folder / CONFIG}: version {config.get('version')!r:.80}, this alexkit reads {CONFIG_VERSION}; "
                "use the one that wrote it"
            )
        try:
            recipe_json = config["recipe"]
            data = DataIdentity.from_json(config["data"])
            changes = read_changes(config.get("history", ()))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{folder / CONFIG}: damaged field ({in_words(error)}); restore the file") from None
        recipe = Recipe.from_json(recipe_json, where=str(folder / CONFIG))
        history = tuple(RecipeChange(step=step, set=values) for step, values in changes)
        run = cls(folder=folder, recipe=recipe, data=data, history=history)
        run.recipe_at()  # whose changes are checked so
        return run

    def recipe_at(self, step: int | None = None) -> Recipe:
        """The recipe in force after `step` finished steps; None for all changes that were made."""
        changes = [(change.step, change.set) for change in self.history if step is None or change.step <= step]
        if not changes:
            return self.recipe
        where = str(self.folder / CONFIG)
        return Recipe.from_json(with_changes(self.recipe.to_json(), changes, where=where), where=where)

    def next_change(self, step: int) -> int | None:
        """The step of the first change after `step`, None when there is none."""
        return min((change.step for change in self.history if change.step > step), default=None)

    def _with(self, recipe: Recipe, change: bool) -> "Run":
        """This run, resumed with `recipe`.

        What is asked for by hand holds from this step on: a change that waits for a later step, since the checkpoints
        after it are lost, is made now too or, where it was taken back, not at all.
        """
        current = self.recipe_at()
        if not change and recipe in (self.recipe, current):
            return self
        changed = _changed_keys(current, recipe)
        goes_on = set(changed) == {"training.epochs"} and recipe.training.epochs > current.training.epochs
        if not change and not (goes_on and self.result):
            difference = first_difference(self.recipe.to_json(), recipe.to_json())
            raise InputError(
                f"{self.folder}: this run was started with {difference}; choose another --name, or the same settings, "
                "or change it on the way with --change"
            )
        if recipe.training.folds != current.training.folds:
            raise InputError(
                "training.changes.fold_in cannot be changed on the way; start another run under another --name"
            )
        for key in changed:
            if key.partition(".")[0] in FIXED or key in FIXED:
                raise InputError(f"{key} cannot be changed on the way; start another run under another --name")
        checkpoint = newest_checkpoint(self.folder / CHECKPOINTS)
        if checkpoint is None:
            raise InputError(
                f"{self.folder / CHECKPOINTS}: no checkpoint is left to go on from; restore one, or begin anew with "
                "--restart"
            )
        made = tuple(earlier for earlier in self.history if earlier.step <= checkpoint.step)
        now = _changed_keys(self.recipe_at(checkpoint.step), recipe)
        if not now and made == self.history:
            return self
        run = replace(self, history=(*made, RecipeChange(step=checkpoint.step, set=now)) if now else made)
        run._write()
        (self.folder / RESULT).unlink(missing_ok=True)
        return run

    def _write(self) -> None:
        config = {
            "version": CONFIG_VERSION,
            "recipe": self.recipe.to_json(),
            "history": [asdict(change) for change in self.history],
            "data": self.data.to_json(),
        }
        write_json(self.folder / CONFIG, config)

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
        """What `finish` wrote; None while the run is not finished, or when it is damaged: it is only a record."""
        path = self.folder / RESULT
        if not path.exists():
            return None
        try:
            result = read_json(path)
        except InputError as error:
            log.warning("%s; it is written again", error)
            return None
        scored = {"loss", "top1_error", "best_top1_error"} if "images" in result else set()
        if missing := sorted(
            key for key in {"epochs", "steps"} | scored if not is_number(result.get(key)) or result[key] < 0
        ):
            log.warning("%s: no %s in it; it is written again", path, ", ".join(missing))
            return None
        return result

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


def _texts(name: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} must be a list of texts, got {str(values)[:80]}")
    return tuple(values)


def _changed_keys(old: Recipe, new: Recipe) -> dict[str, Any]:
    """The new values of all keys `section.key` that differ."""
    before, after = old.to_json(), new.to_json()
    changed = {}
    for section, keys in after.items():
        if not isinstance(keys, dict):
            if keys != before[section]:
                changed[section] = keys
            continue
        changed |= {f"{section}.{key}": value for key, value in keys.items() if value != before[section][key]}
    return changed


def first_difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str | None:
    """The first key that differs, with both values, in words; None when there is none."""
    for key in old | new:  # a table such as training.rates holds only what somebody named
        if isinstance(old.get(key), dict) and isinstance(new.get(key), dict):
            inner = first_difference(old[key], new[key], f"{prefix}{key}.")
            if inner:
                return inner
            continue
        before, now = (repr(side[key]) if key in side else "nothing" for side in (old, new))
        if before != now:
            return f"{prefix}{key} = {before}, now {now}"
    return None


def _some(class_ids: tuple[str, ...]) -> str:
    return f"{len(class_ids)} classes: {', '.join(class_ids[:3])}{', …' if len(class_ids) > 3 else ''}"
