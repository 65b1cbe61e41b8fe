"""The paper's claims beside what runs of ours found: the table of docs/claims.md, which is generated and never typed.

A run serves the claims that its recipe names. Errors are those of the last validation, one center view.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Literal

from ....errors import InputError
from ...runs.load import built_in_recipes, load_about
from ...runs.log import read_log
from ...runs.run import LOG, Run

Needs = Literal["nothing", "CIFAR-10", "ImageNet", "other data"]
TRAINING_ERROR_OF_FIGURE_1 = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One claim of the paper."""

    id: str
    """As in the recipes' [about]."""
    claim: str
    """In a few words."""
    printed: str
    """The number that is printed."""
    needs: Needs
    """The data that shows it."""


CLAIMS = (
    Claim(id="T1", claim="ILSVRC 2010 test set, ten views; one view", printed="37.5 / 17.0; 39.0 / 18.3 %",
          needs="ImageNet"),
    Claim(id="T2a", claim="ILSVRC 2012, one network", printed="40.7 / 18.2 %", needs="ImageNet"),
    Claim(id="T2b", claim="ILSVRC 2012, five networks", printed="38.1 / 16.4 %", needs="ImageNet"),
    Claim(id="T2c", claim="ILSVRC 2012, one pre-trained network", printed="39.0 / 16.6 %", needs="other data"),
    Claim(id="T2d", claim="ILSVRC 2012, seven networks", printed="36.7 / 15.4 %", needs="other data"),
    Claim(id="T3", claim="ImageNet Fall 2009, half and half", printed="67.4 / 40.9 %", needs="other data"),
    Claim(id="F1", claim="ReLU reaches 25 % training error sooner than tanh", printed="6 times", needs="CIFAR-10"),
    Claim(id="F2", claim="sizes of the network", printed="60 million parameters, 650,000 neurons", needs="nothing"),
    Claim(id="B1", claim="two GPUs against one", printed="-1.7 / -1.2 points", needs="ImageNet"),
    Claim(id="B2", claim="response normalization", printed="-1.4 / -1.2 points; CIFAR-10: 13 to 11 %",
          needs="CIFAR-10"),
    Claim(id="B3", claim="overlapping pooling", printed="-0.4 / -0.3 points", needs="ImageNet"),
    Claim(id="B4", claim="ten views against one", printed="-1.5 / -1.3 points", needs="ImageNet"),
    Claim(id="B5", claim="color noise", printed="over 1 point of top-1", needs="ImageNet"),
    Claim(id="B6", claim="dropout doubles the steps and stops overfitting", printed="twice", needs="ImageNet"),
    Claim(id="B7", claim="weight decay lowers the training error; biases of 1 speed the start", printed="no number",
          needs="CIFAR-10"),
    Claim(id="B8", claim="a middle layer removed", printed="about -2 points of top-1", needs="ImageNet"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What runs found that differ in their seeds alone."""

    recipe: str
    """The recipe's name."""
    name: str
    """What the runs are called, without their seeds."""
    images: int
    """Images scored."""
    errors: tuple[float, ...]
    """Top-1 error of every run, 0-1."""
    epochs_to_25: tuple[int, ...]
    """Of every run that got there, the first epoch with a training error of 25 % or less."""
    hours: float
    """Of training, all runs together."""

    @property
    def interval(self) -> float:
        """Half the width of the 95 % interval: between runs, or of one run's images."""
        if len(self.errors) > 1:
            return 1.96 * stdev(self.errors) / sqrt(len(self.errors))
        error = self.errors[0]
        return 1.96 * sqrt(error * (1 - error) / self.images)

    def words(self) -> str:
        """Error, interval and seeds, in one phrase."""
        seeds = f"{len(self.errors)} seed{'s' if len(self.errors) > 1 else ''}"
        return f"{self.name} {mean(self.errors):.2%} ± {self.interval:.2%} ({seeds}, {self.hours:.1f} h)"


def claims_table(folders: Sequence[Path]) -> str:
    """The table as Markdown. Raises InputError for a folder that is no finished run with a validation."""
    found = _found(folders)
    served = {name: load_about(name).claims for name in built_in_recipes()}
    lines = ["| id | claim | printed | ours: top-1 error, one view, 95 % interval | status |", "|---|---|---|---|---|"]
    for claim in CLAIMS:
        own = [one for one in found if claim.id in served.get(one.recipe, ())]
        words = "; ".join(one.words() for one in own)
        if claim.id == "F1":
            words = "; ".join(filter(None, [words, _ratio(own)]))
        if claim.needs == "nothing":
            words, status = "60,965,224 parameters, 659,272 neurons", "reproduced"
        elif own:
            status = f"shown on {own[0].images:,} images"
        else:
            status = "not run yet" if claim.needs == "CIFAR-10" else f"needs {claim.needs}"
        lines.append(f"| {claim.id} | {claim.claim} | {claim.printed} | {words} | {status} |")
    return "\n".join(lines)


def _ratio(found: Sequence[Found]) -> str:
    """How many times as many epochs tanh needs, each at its best rate, from the means over the seeds."""
    epochs = {
        kind: [mean(one.epochs_to_25) for one in found if one.recipe == f"f1-{kind}" and one.epochs_to_25]
        for kind in ("relu", "tanh")
    }
    if not all(epochs.values()):
        return ""
    relu, tanh = min(epochs["relu"]), min(epochs["tanh"])
    return f"25 % after {relu:.1f} and {tanh:.1f} epochs: {tanh / relu:.1f} times"


def _found(folders: Sequence[Path]) -> list[Found]:
    groups: dict[tuple[str, str, int, str], list[Path]] = {}
    for folder in folders:
        run = Run.open(folder)
        result, recipe = run.result, run.recipe_at()
        if result is None or "images" not in result:
            raise InputError(f"{folder}: no finished run with a validation; train it to its end first")
        name = folder.resolve().name.removesuffix(f"-seed{recipe.training.seed}")
        settings = repr(replace(recipe, training=replace(recipe.training, seed=0)))
        groups.setdefault((recipe.name, name, result["images"], settings), []).append(folder)
    return [
        Found(
            recipe=recipe_name,
            name=name,
            images=images,
            errors=tuple((Run.open(folder).result or {})["top1_error"] for folder in own),
            epochs_to_25=tuple(epoch for folder in own if (epoch := _epochs_to_25(folder)) is not None),
            hours=sum(map(_hours, own)),
        )
        for (recipe_name, name, images, _), own in sorted(groups.items())
    ]


def _epochs_to_25(folder: Path) -> int | None:
    """The first epoch whose training error, the mean of its log lines, is at most 25 %."""
    run = Run.open(folder)
    steps_per_epoch = (run.result or {})["steps"] // (run.result or {})["epochs"]
    errors: dict[int, list[float]] = {}
    for line in read_log(folder / LOG):
        if line["kind"] == "train":
            errors.setdefault(-(-line["step"] // steps_per_epoch), []).append(line["top1_error"])
    return next((epoch for epoch, own in sorted(errors.items()) if mean(own) <= TRAINING_ERROR_OF_FIGURE_1), None)


def _hours(folder: Path) -> float:
    run = Run.open(folder)
    rates = [line["images_per_s"] for line in read_log(folder / LOG) if line.get("images_per_s", 0) > 0]
    images = (run.result or {})["steps"] * run.recipe.training.batch_size
    return images / mean(rates) / 3600 if rates else 0.0
