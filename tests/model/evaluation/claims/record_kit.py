"""Records of finished runs, and rows of the table of claims."""

import json
from dataclasses import replace
from pathlib import Path

from alexkit.model.evaluation.claims.run_records import RunRecord, Scored, read_record
from alexkit.model.runs.load import load_recipe
from alexkit.model.runs.run import Run
from alexkit.prep import ShardSet


def finished(
    folder: Path,
    shard_set: ShardSet,
    recipe: str,
    *settings: str,
    error: float,
    training_errors: list[float],
    seed: int = 0,
) -> RunRecord:
    """The record of a run folder as training leaves it, with ten steps an epoch and these errors."""
    epochs = len(training_errors)
    run = Run.start_or_resume(folder, load_recipe(recipe, [f"training.seed={seed}", *settings]), shard_set)
    lines = [
        {"kind": "train", "step": 10 * epoch + step, "loss": 1.0, "top1_error": own, "rate": 0.1, "images_per_s": 12.8}
        for epoch, own in enumerate(training_errors)
        for step in (5, 10)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = {"loss": 1.0, "top1_error": error, "best_top1_error": error}
    run.finish({"epochs": epochs, "steps": 10 * epochs, "images": 10_000, **scores})
    return read_record(folder)


def row(table: str, id: str) -> list[str]:
    """The cells of a claim's row: id, claim, printed, ours, data, seeds, hours, status."""
    (found,) = [line for line in table.splitlines() if line.startswith(f"| {id} |")]
    cells = [cell.strip() for cell in found.strip("|").split(" | ")]
    assert len(cells) == 8
    return cells


def scored(
    record: RunRecord,
    split: str = "val",
    *,
    data: str = "ILSVRC 2012",
    images: int = 50_000,
    **errors: tuple[float, ...],
) -> RunRecord:
    """The record as of this training data, with these top-1 and top-5 errors by kind of views."""
    scores = {
        view: Scored(images=images, top1_error=found[0], top5_error=found[1] if len(found) > 1 else None, split=split)
        for view, found in errors.items()
    }
    return replace(record, data=data, scores=scores, weights_sha256=record.name)
