"""The record of a run for the table of claims: one small JSON file, from which the table can always be regenerated.

A record holds the recipe, the training data, errors by epoch, errors by kind of views if they were evaluated, the
training time, and the fraction of the first layer's energy that is color, by column.
"""

from collections.abc import Sequence
from dataclasses import field
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from pydantic.dataclasses import dataclass

from ....errors import InputError
from ...network.switches import CHECKED
from ...network.tables import wiring
from ...runs.checked import from_data, to_data
from ...runs.checkpoint import STATE, WEIGHTS, newest_checkpoint
from ...runs.log import read_log
from ...runs.provenance import software_versions
from ...runs.recipe import Recipe
from ...runs.run import CHECKPOINTS, LOG, Run, read_json, write_json
from ..figures import color_fractions

# Training images of ILSVRC by year, to tell a whole set from others of 1,000 classes. A few may have been quarantined.
ILSVRC_IMAGES = {"ILSVRC 2010": 1_261_406, "ILSVRC 2012": 1_281_167}
MAX_QUARANTINED = 1_000
CIFAR10_IMAGES = 50_000
# The class names of CIFAR-10, whichever tool unpacked it.
CIFAR10 = {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class EpochRecord:
    """One epoch of a run's log."""

    epoch: int
    """Number of the epoch, from 1."""
    train_loss: float
    """Mean loss over its steps."""
    train_error: float
    """Top-1 error on the images as augmented, mean over its steps, 0-1."""
    val_error: float | None = None
    """Top-1 validation error after the epoch, center view, 0-1; None if it was not validated."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Scored:
    """Error rates over a set."""

    images: int
    """Images scored."""
    top1_error: float
    """Top-1 error, 0-1."""
    top5_error: float | None = None
    """Top-5 error, 0-1; None if it is meaningless."""
    split: str = ""
    """The split that was scored; "" if an older run or record does not tell."""
    set_sha256: str = ""
    """SHA-256 of the statistics of the set that was scored; "" if an older run or evaluation does not tell."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Average:
    """Several networks together: the mean of their probabilities, with equal weights."""

    members: tuple[str, ...]
    """SHA-256 of each network's weights, sorted."""
    scores: dict[str, Scored]
    """Error rates by kind of views."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class RunRecord:
    """A finished run."""

    name: str
    """The run folder's name."""
    recipe: Recipe
    """The recipe, with all changes made during the run."""
    data: str
    """The training data, in words."""
    train_images: int
    """Images in the training set; 0 if unknown, for runs of older versions."""
    epochs: tuple[EpochRecord, ...]
    """Losses and errors by epoch."""
    scores: dict[str, Scored] = field(default_factory=dict)
    """Error rates by kind of views, from `alexeval --json`; for `center`, otherwise from the last validation. Never of
    images that the run was trained on."""
    train_scores: dict[str, Scored] = field(default_factory=dict)
    """Error rates on images that the run was trained on, by kind of views; no claim is judged by them."""
    together: tuple[Average, ...] = ()
    """Averages of networks in which it was evaluated."""
    weights_sha256: str = ""
    """SHA-256 of the weights that were scored; "" in records of older versions."""
    seconds: float
    """Training time, without validations."""
    color_shares: tuple[float, ...] = ()
    """By column, the fraction of the first layer's energy that is color."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of alexkit and of the libraries that affect the numbers."""

    @property
    def group(self) -> str:
        """The name without its seed."""
        return self.name.removesuffix(f"-seed{self.recipe.training.seed}")

    @property
    def steps_per_epoch(self) -> int:
        """Training steps per epoch; 0 if unknown."""
        batches = self.train_images / self.recipe.training.batch_size
        return floor(batches) if self.recipe.data.drop_last else ceil(batches)

    def epochs_to(self, train_error: float) -> int | None:
        """The first epoch with at most this training error, or None if there is none."""
        return next((one.epoch for one in self.epochs if one.train_error <= train_error), None)

    def converged_in(self, margin: float) -> int | None:
        """The first epoch with a validation error within `margin` of the lowest, or None without validations."""
        errors = [(one.val_error, one.epoch) for one in self.epochs if one.val_error is not None]
        return next((epoch for error, epoch in errors if error <= min(errors)[0] + margin), None)


def read_record(path: Path, evaluations: Sequence[Path] = ()) -> RunRecord:
    """Make the record of a run folder, or read a stored record.

    Args:
        path: A run folder, or a JSON file written by `store_record`.
        evaluations: Files with the output of `alexeval --json`; rows for this run's newest checkpoint add their scores,
            and so do rows for several networks that include it. Scores of images that the run was trained on are kept
            apart, in `train_scores`.

    Raises InputError if `path` is neither, if the run is not finished, and for evaluations with labels other than the
    set's own.
    """
    if path.suffix == ".json" and path.is_file():
        record: RunRecord = from_data(RunRecord, read_json(path), where=str(path))
        return record
    run = Run.open(path)
    result, recipe = run.result, run.recipe_at()
    checkpoint = newest_checkpoint(path / CHECKPOINTS)
    if result is None:
        raise InputError(f"{path}: not finished; train it to its end first, by the same 'alextrain' command")
    train_images = 0 if run.statistics is None else run.statistics.num_images
    epochs = _epochs(path, result)
    if not epochs:
        raise InputError(f"{path / LOG}: has no training lines; a run without its log cannot be recorded")
    scores: dict[str, Scored] = {}
    found = Evaluated()
    weights_sha256 = ""
    shares: tuple[float, ...] = ()
    if "images" in result:
        split = str(result.get("split", "val" if recipe.data.validate_on == "val" else ""))
        scores["center"] = _scored(result, split, str(result.get("statistics_sha256", "")))
    if checkpoint is not None:
        weights_sha256 = read_json(checkpoint.folder / STATE)["sha256"][WEIGHTS]
        found = _evaluated(run, weights_sha256, evaluations)
        table = wiring(recipe.network)
        kernels = checkpoint.weights()[f"{table.layers[0].name}.weight"].numpy()
        shares = tuple(round(share, 6) for share in color_fractions(kernels, table.columns))
    return RunRecord(
        name=path.resolve().name,
        recipe=recipe,
        data=data_name(run.data.class_ids, train_images),
        train_images=train_images,
        epochs=epochs,
        scores=scores | found.scores,
        train_scores=found.train_scores,
        together=tuple(Average(members=members, scores=own) for members, own in sorted(found.together.items())),
        weights_sha256=weights_sha256,
        seconds=round(_seconds(path, recipe.training.batch_size), 1),
        color_shares=shares,
        versions=software_versions(),
    )


def read_records(paths: Sequence[Path], evaluations: Sequence[Path] = ()) -> list[RunRecord]:
    """Like `read_record`, for several. Also raises InputError for an evaluation that has none of the run folders."""
    records = [read_record(path, evaluations) for path in paths]
    weights = {record.weights_sha256 for path, record in zip(paths, records, strict=True) if path.is_dir()}
    for evaluation in evaluations:
        rows = read_json(evaluation).get("rows", ())
        scored = {one["sha256"] for row in rows for one in (row.get("checkpoint"), *row.get("members", ())) if one}
        if not weights & scored:
            raise InputError(
                f"{evaluation}: has no errors of the newest checkpoint of any RUN given; evaluate the runs again with "
                "'alexeval RUN --json', and pass their folders"
            )
    return records


def store_record(record: RunRecord, folder: Path) -> Path:
    """Write a record as FOLDER/NAME.json."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.name}.json"
    write_json(path, to_data(record))
    return path


def _epochs(folder: Path, result: dict[str, Any]) -> tuple[EpochRecord, ...]:
    steps_per_epoch = result["steps"] / result["epochs"]
    train: dict[int, list[dict[str, Any]]] = {}
    val: dict[int, float] = {}
    before = 0
    for line in read_log(folder / LOG):
        epoch = max(ceil(line.get("epoch", line["step"] / steps_per_epoch)), 1)
        if line["kind"] == "train":
            train.setdefault(epoch, []).append({**line, "steps": line["step"] - before})
            before = line["step"]
        else:
            val[epoch] = line["top1_error"]
    return tuple(
        EpochRecord(
            epoch=epoch,
            train_loss=_mean(lines, "loss"),
            train_error=_mean(lines, "top1_error"),
            val_error=val.get(epoch),
        )
        for epoch, lines in sorted(train.items())
    )


def _mean(lines: Sequence[dict[str, Any]], key: str) -> float:
    """The mean of `key` over the steps that the lines cover."""
    return round(float(np.average([line[key] for line in lines], weights=[line["steps"] for line in lines])), 6)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """What evaluations say about one run's weights; dictionaries by kind of views."""

    scores: dict[str, Scored] = field(default_factory=dict)
    """Error rates on images that the run was not trained on."""
    train_scores: dict[str, Scored] = field(default_factory=dict)
    """Error rates on images that the run was trained on."""
    together: dict[tuple[str, ...], dict[str, Scored]] = field(default_factory=dict)
    """Error rates of averages that include the run, by the sorted SHA-256 of their members' weights."""


def _evaluated(run: Run, weights_sha256: str, evaluations: Sequence[Path]) -> Evaluated:
    result = Evaluated()
    for path in evaluations:
        evaluation = read_json(path)
        trained_on = _trained_on(run, evaluation)
        for row in evaluation.get("rows", ()):
            members = tuple(sorted(one["sha256"] for one in row.get("members", ())))
            own = row.get("checkpoint", {}).get("sha256") == weights_sha256
            if not own and (weights_sha256 not in members or "weights" in row or trained_on):
                continue
            if (labels := evaluation.get("labels")) is not None:
                raise InputError(
                    f"{path}: has errors by the labels of {labels}, which no claim is about; omit --labels"
                )
            alone = result.train_scores if trained_on else result.scores
            into = alone if own else result.together.setdefault(members, {})
            split, scored_set = evaluation.get("split", ""), evaluation.get("statistics_sha256", "")
            into |= {view: _scored(row[view], split, scored_set) for view in ("center", "nine", "ten") if view in row}
    return result


def _trained_on(run: Run, evaluation: dict[str, Any]) -> bool:
    """Whether the run was trained on the evaluated images, whatever their folder is called."""
    split, scored_set = evaluation.get("split", ""), evaluation.get("statistics_sha256", "")
    folded = any(split == change.fold_in for change in run.recipe_at().training.folds)
    return split == "train" or folded or (bool(scored_set) and scored_set == run.data.statistics_sha256)


def _scored(found: dict[str, Any], split: str, set_sha256: str = "") -> Scored:
    return Scored(
        images=found["images"],
        top1_error=found["top1_error"],
        top5_error=found.get("top5_error"),
        split=split,
        set_sha256=set_sha256,
    )


def data_name(class_ids: Sequence[str], train_images: int) -> str:
    """A training set in words: a benchmark's name only if the set is the whole of it, by its classes and size."""
    if set(class_ids) == CIFAR10:
        return "CIFAR-10" if train_images in (0, CIFAR10_IMAGES) else f"CIFAR-10 ({train_images:,} images)"
    if len(class_ids) == 1000 and all(one.startswith("n") and one[1:].isdecimal() for one in class_ids):
        for name, whole in ILSVRC_IMAGES.items():
            if whole - MAX_QUARANTINED <= train_images <= whole:
                return name
    return f"{len(class_ids):,} classes"


def _seconds(folder: Path, batch_size: int) -> float:
    """The sum of the log's intervals, computed from their images/s; steps repeated by a resumed run count once."""
    seconds, before = 0.0, 0
    for line in read_log(folder / LOG):
        if line["kind"] == "train":
            if line.get("images_per_s", 0) > 0:
                seconds += (line["step"] - before) * batch_size / line["images_per_s"]
            before = line["step"]
    return seconds
