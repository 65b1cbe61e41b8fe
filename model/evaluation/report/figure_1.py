"""Figure 1 of the paper, of runs of ours: training error by epoch, and the line of 25 %."""

from collections.abc import Sequence
from pathlib import Path

from ....errors import InputError
from ..figures import new_figure, save_figure
from .effects import TRAINING_ERROR_OF_FIGURE_1, groups_of
from .run_records import RunRecord


def draw_figure_1(path: Path, records: Sequence[RunRecord]) -> None:
    """Write a PNG: a line for each run, in one color where only seeds differ. InputError without runs."""
    groups = groups_of(records)
    if not groups:
        raise InputError("--picture draws runs; name at least one RUN")
    figure, (axis,) = new_figure(1, (7, 4.5))
    for number, group in enumerate(groups):
        for seed, record in enumerate(group.records):
            epochs = [one.epoch for one in record.epochs]
            errors = [100 * one.train_error for one in record.epochs]
            label = f"{group.name}, rate {record.recipe.training.rate:g}" if seed == 0 else None
            axis.plot(epochs, errors, color=f"C{number % 10}", lw=1.3, label=label)
    axis.axhline(100 * TRAINING_ERROR_OF_FIGURE_1, color="#9a9a9a", ls="--", lw=1)
    axis.set(xlabel="epoch", ylabel="training error (%)", xlim=(0, None), ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
