"""A run folder: the recipe, the data, the progress and the result of a run.

It holds `config.json` (the resolved recipe, the changes made to it during the run, and the identity of the data),
`statistics.npz` (those of the training set, so that the network can be used without the set), `checkpoints/`, and
records that are never needed to resume: `log.jsonl`, `tensorboard/`, `starts.jsonl`, `curves.png`, `filters.png` and,
once the run is finished, `result.json`.
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
# Keys, and whole sections, that cannot change during a run.
FIXED = ("name", "network", "data.crop", "data.mean", "data.order", "data.drop_last", "training.batch_size",
         "training.seed", "training.precision", "training.start_from", "training.start_layers")  # fmt: skip

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataIdentity:
    """The identity of a training set, and how its images were prepared."""

    class_ids: tuple[str, ...]
    """The class ids in the order of labels."""
    statistics_sha256: str
    """The hash of the set's statistics."""
    class_names: tuple[str, ...] = ()
    """Human-readable class names; empty in runs of older versions."""
    pixels: PixelOptions | None = None
    """How images are prepared; None in runs of older versions."""

    @classmethod
    def of(cls, shard_set: ShardSet) -> "DataIdentity":
        """The identity of a training set."""
        manifest = shard_set.manifest
        return cls(
            class_ids=tuple(entry.id for entry in manifest.classes),
            statistics_sha256=manifest.statistics_sha256,
            class_names=tuple(entry.name for entry in manifest.classes),
            pixels=manifest.pixels,
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "DataIdentity":
        """The inverse of `to_json`. Raises KeyError, TypeError or ValueError if a field is missing or wrong."""
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
    """The recipe that the run was started with."""
    data: DataIdentity
    history: tuple[RecipeChange, ...] = ()
    """Later changes to the recipe, in the order of their steps."""

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
        """Start a run on the training set `shard_set` in `folder`, or resume the run that is there.

        A run that ended before its first checkpoint is started over. With `change`, a recipe that differs only in keys
        that may change during a run takes effect from the run's current step; a finished run can be extended by more
        epochs without it. `restart` discards what the folder holds. `history` holds the changes that a new run makes at
        given steps, to repeat another run.

        Raises InputError if the folder holds a run on other data or with another recipe, or is not a run.
        """
        data = DataIdentity.of(shard_set)
        begun = bool(checkpoint_folders(folder / CHECKPOINTS)) or (folder / RESULT).exists()
        if begun and not restart:
            run = cls.open(folder)
            run.require(data)
            return run._with(recipe, change)
        if change:
            raise InputError(f"{folder}: has no run with a checkpoint to change; start one without --change")
        ours = {CONFIG, STATISTICS, LOG, DAMAGED_LOG, STARTS, RESULT, CHECKPOINTS, LOCK, "tensorboard"}
        if not (folder / CONFIG).exists() and folder.exists():
            others = sorted(path.name for path in folder.iterdir() if path.name not in ours)
            if others:
                raise InputError(
                    f"{folder}: holds {', '.join(others[:3])} but no {CONFIG}, so it is not a run; choose another "
                    "--name"
                )
        statistics = shard_set.sums()
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / name for name in (*PICTURES, *ours - {LOCK})):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        statistics.save(folder / STATISTICS)
        run = cls(folder=folder, recipe=recipe, data=data, history=history)
        run._write()
        (folder / CHECKPOINTS).mkdir()
        return run

    @classmethod
    def recipe_to_resume(cls, folder: Path, recipe: Recipe) -> Recipe:
        """The recipe in effect at the current step of the run in `folder` if `recipe` resumes it, otherwise `recipe`.

        Only the names of the checkpoints are read; if the newest is damaged, the run resumes from an earlier step.
        """
        if not (checkpoints := checkpoint_folders(folder / CHECKPOINTS)):
            return recipe
        run = cls.open(folder)
        return run.recipe_at(step_of(checkpoints[-1])) if recipe in (run.recipe, run.recipe_at()) else recipe

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """Read a run's configuration. Raises InputError if the folder is not a run."""
        if not (folder / CONFIG).exists():
            found = f"has no {CONFIG}" if folder.exists() else "no such file or folder"
            raise InputError(f"{folder}: {found}; name a folder that 'alextrain' wrote, e.g. runs/original")
        config = read_json(folder / CONFIG)
        if config.get("version") != CONFIG_VERSION:
            raise InputError(
                f"{folder / CONFIG}: version {config.get('version')!r:.80}, but this alexkit reads version "
                f"{CONFIG_VERSION}; use the alexkit that wrote it"
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
        run.recipe_at()  # checks the changes
        return run

    def recipe_at(self, step: int | None = None) -> Recipe:
        """The recipe in effect after `step` finished steps; None applies all changes."""
        changes = [(change.step, change.set) for change in self.history if step is None or change.step <= step]
        if not changes:
            return self.recipe
        where = str(self.folder / CONFIG)
        return Recipe.from_json(with_changes(self.recipe.to_json(), changes, where=where), where=where)

    def next_change(self, step: int) -> int | None:
        """The step of the first change after `step`, or None if there is none."""
        return min((change.step for change in self.history if change.step > step), default=None)

    def _with(self, recipe: Recipe, change: bool) -> "Run":
        """This run, resumed with `recipe`.

        The given recipe takes effect from the current step on. If checkpoints were lost, the history may hold changes
        at later steps; they are discarded, and what `recipe` keeps of them takes effect now.
        """
        current = self.recipe_at()
        if not change and recipe in (self.recipe, current):
            return self
        changed = _changed_keys(current, recipe)
        goes_on = set(changed) == {"training.epochs"} and recipe.training.epochs > current.training.epochs
        if not change and not (goes_on and self.result):
            difference = first_difference(self.recipe.to_json(), recipe.to_json())
            raise InputError(
                f"{self.folder}: this run was started with {difference}; choose another --name, use the same settings, "
                "or change them during the run with --change"
            )
        if recipe.training.folds != current.training.folds:
            raise InputError(
                "training.changes.fold_in cannot be changed during a run; start another run under another --name"
            )
        for key in changed:
            if key.partition(".")[0] in FIXED or key in FIXED:
                raise InputError(f"{key} cannot be changed during a run; start another run under another --name")
        checkpoint = newest_checkpoint(self.folder / CHECKPOINTS)
        if checkpoint is None:
            raise InputError(
                f"{self.folder / CHECKPOINTS}: no checkpoint left to resume from; restore one, or start over with "
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
        """Raise InputError if this run was trained on other data."""
        if self.data.class_ids != data.class_ids:
            raise InputError(
                f"{self.folder}: this run was trained on another dataset ({_some(self.data.class_ids)}) than --shards "
                f"({_some(data.class_ids)}); choose another --name or other --shards"
            )
        if self.data.statistics_sha256 != data.statistics_sha256:
            raise InputError(
                f"{self.folder}: this run was trained on another dataset than --shards: the classes are the same, but "
                "images or preparation differ (as the statistics show); choose another --name or other --shards"
            )

    @property
    def statistics(self) -> PixelSums | None:
        """The statistics of the training set; None in runs of older versions."""
        return PixelSums.load(self.folder / STATISTICS) if (self.folder / STATISTICS).exists() else None

    @property
    def result(self) -> dict[str, Any] | None:
        """What `finish` wrote; None if the run is not finished or the file is damaged, since it is only a record."""
        path = self.folder / RESULT
        if not path.exists():
            return None
        try:
            result = read_json(path)
        except InputError as error:
            log.warning("%s; rewriting it", error)
            return None
        scored = {"loss", "top1_error", "best_top1_error"} if "images" in result else set()
        if missing := sorted(
            key for key in {"epochs", "steps"} | scored if not is_number(result.get(key)) or result[key] < 0
        ):
            log.warning("%s: %s missing or invalid; rewriting it", path, ", ".join(missing))
            return None
        return result

    def finish(self, result: dict[str, Any]) -> None:
        """Mark the run as finished."""
        write_json(self.folder / RESULT, result)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    with whole_file(path) as file:
        file.write(json.dumps(data, indent=1).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises InputError naming the file if it is anything else."""
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{path}: larger than {MAX_JSON_BYTES} bytes, so it was not written by alexkit")
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); restore the file") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(data).__name__}; restore the file")
    return data


def _texts(name: str, values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{name} must be a list of strings, got {str(values)[:80]}")
    return tuple(values)


def _changed_keys(old: Recipe, new: Recipe) -> dict[str, Any]:
    """The new values of all keys that differ, by `section.key`."""
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
    """The first key that differs, with both values, in words; None if there is none."""
    for key in old | new:  # a table such as training.rates holds only the keys that were set
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
