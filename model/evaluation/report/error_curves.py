"""Errors by epoch of our runs: training errors as in Figure 1 of the paper, and validation errors beside them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ....errors import InputError
from ...runs.load import built_in_recipes, load_about
from ..figures import new_figure, run_style, save_figure
from .effects import TRAINING_ERROR_OF_FIGURE_1, Group, groups_of
from .run_records import EpochRecord, RunRecord

Chart = tuple[str, Callable[[EpochRecord], float | None]]
"""The axis label, and a function that returns the value of an epoch, or None if there is none."""

TRAINING: Chart = ("training error (%)", lambda epoch: 100 * epoch.train_error)
VALIDATION: Chart = (
    "validation error, one view (%)",
    lambda epoch: None if epoch.val_error is None else 100 * epoch.val_error,
)
LOSS: Chart = ("training loss", lambda epoch: epoch.train_loss)


def draw_errors(path: Path, records: Sequence[RunRecord]) -> None:
    """Write a PNG of each run's top-1 training error by epoch, with one color for runs that differ only in seeds.

    For runs of Figure 1's recipes, its line at 25 % is drawn. Otherwise there is a second chart, of the validation
    error or, if nothing was validated, of the training loss. Raises InputError without runs.
    """
    groups = groups_of(records)
    if not groups:
        raise InputError("--picture: no runs to draw; name at least one RUN")
    is_figure_1 = all(map(_serves_figure_1, groups))
    validated = any(epoch.val_error is not None for record in records for epoch in record.epochs)
    charts = [TRAINING] if is_figure_1 else [TRAINING, VALIDATION if validated else LOSS]
    figure, axes = new_figure(len(charts), (7, 4.5) if is_figure_1 else (11, 4.4))
    for axis, (words, value) in zip(axes, charts, strict=True):
        _draw_chart(axis, groups, value)
        axis.set(xlabel="epoch", ylabel=words, xlim=(0, None), ylim=(0, None))
        axis.legend(frameon=False, fontsize=9)
    if is_figure_1:
        axes[0].axhline(100 * TRAINING_ERROR_OF_FIGURE_1, color="#9a9a9a", ls="--", lw=1)
    save_figure(figure, path)


def _draw_chart(axis: Any, groups: Sequence[Group], value: Callable[[EpochRecord], float | None]) -> None:
    rates_differ = len({group.first.recipe.training.rate for group in groups}) > 1
    for place, group in enumerate(groups):
        number = f"{group.first.recipe.training.rate:g}"
        rate = f", rate {number}" if rates_differ and not group.name.endswith(number) else ""
        for seed, record in enumerate(group.records):
            points = [(epoch.epoch, found) for epoch in record.epochs if (found := value(epoch)) is not None]
            label = f"{group.name}{rate}" if seed == 0 else None
            epochs, values = [epoch for epoch, _ in points], [found for _, found in points]
            axis.plot(epochs, values, lw=1.3, label=label, **run_style(place))


def _serves_figure_1(group: Group) -> bool:
    name = group.first.recipe.name
    return name in built_in_recipes() and "F1" in load_about(name).claims
