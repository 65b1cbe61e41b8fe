"""Errors by epoch, of runs of ours: as Figure 1 of the paper draws them, and those of a validation split beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ....errors import InputError
from ...runs.load import built_in_recipes, load_about
from ..figures import RUN_COLORS, RUN_DASHES, new_figure, save_figure
from .effects import TRAINING_ERROR_OF_FIGURE_1, Group, groups_of
from .run_records import RunRecord


def draw_errors(path: Path, records: Sequence[RunRecord]) -> None:
    """Write a PNG: top-1 error of each run on its training images by epoch, in one color where only seeds differ.

    Runs of Figure 1's recipes have its line at 25 %, and others a second chart of the error on the validation split.
    InputError without runs.
    """
    groups = groups_of(records)
    if not groups:
        raise InputError("--picture draws runs; name at least one RUN")
    is_figure_1 = all(map(_serves_figure_1, groups))
    figure, axes = new_figure(1 if is_figure_1 else 2, (7, 4.5) if is_figure_1 else (11, 4.4))
    rates_differ = len({group.first.recipe.training.rate for group in groups}) > 1
    for number, group in enumerate(groups):
        color, dashes = RUN_COLORS[number % len(RUN_COLORS)], RUN_DASHES[number // len(RUN_COLORS) % len(RUN_DASHES)]
        rate = f", rate {group.first.recipe.training.rate:g}" if rates_differ else ""
        for seed, record in enumerate(group.records):
            style: dict[str, Any] = {"color": color, "ls": dashes, "lw": 1.3}
            style["label"] = f"{group.name}{rate}" if seed == 0 else None
            epochs = [one.epoch for one in record.epochs]
            axes[0].plot(epochs, [100 * one.train_error for one in record.epochs], **style)
            validated = [(one.epoch, 100 * one.val_error) for one in record.epochs if one.val_error is not None]
            if not is_figure_1:
                axes[1].plot([epoch for epoch, _ in validated], [error for _, error in validated], **style)
    if is_figure_1:
        axes[0].axhline(100 * TRAINING_ERROR_OF_FIGURE_1, color="#9a9a9a", ls="--", lw=1)
    for axis, what in zip(axes, ("training error (%)", "validation error, one view (%)"), strict=False):
        axis.set(xlabel="epoch", ylabel=what, xlim=(0, None), ylim=(0, None))
        axis.legend(frameon=False, fontsize=9)
    save_figure(figure, path)


def _serves_figure_1(group: Group) -> bool:
    name = group.first.recipe.name
    return name in built_in_recipes() and "F1" in load_about(name).claims
