"""The content of the page: an `EvaluationResult` as plain values for the template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....prep import ShardSet
from ..figures import kernel_tiles
from ..metrics import confused_pairs, wilson_interval
from ..result import EvaluationResult
from ..trained import TrainedNetwork
from ..views import TITLES, VIEW_KINDS
from .charts import reliability_diagram, training_curves
from .findings import MAX_SHOWN, label_suspects, near_duplicates
from .neighbors import TrainingNeighbors
from .pictures import Thumbnails, png_uri

NUM_PAIRS, NUM_EXAMPLES = 30, 8
MAX_CLASSES_LISTED = 8


def page_context(
    result: EvaluationResult,
    networks: Sequence[TrainedNetwork],
    shard_set: ShardSet,
    *,
    neighbors: TrainingNeighbors | None = None,
    examples: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """All values for the template.

    Args:
        result: the evaluation.
        networks: the evaluated networks.
        shard_set: the set that was evaluated.
        neighbors: nearest training images; None leaves out the sections that need them.
        examples: keys of the images to show with their guesses; () chooses them by `seed`.
        seed: seed for choosing the examples.
    """
    context = _Context(result, shard_set)
    chosen = context.choose(examples, seed)
    runs = [network.origin.path for network in networks if network.origin.path.is_dir()]
    return {
        "title": f"Evaluation of {', '.join(Path(network.name).name for network in networks)} on {result.split}",
        "facts": _facts(result, networks),
        "notes": result.notes,
        "has_top5": result.has_top5,
        "views": [(kind, TITLES[kind]) for kind in VIEW_KINDS if any(kind in scores for scores in result.scores)],
        "scores": _scores(result),
        "main": (result.final.name if len(networks) > 1 else "", TITLES[result.final.main_view]),
        "features_of": f" of {Path(networks[0].name).name}" if len(networks) > 1 else "",
        "labeled": result.num_labeled,
        "calibration_error": f"{100 * result.calibration.error:.2f}" if result.num_labeled else None,
        "reliability": reliability_diagram(result.calibration) if result.num_labeled else None,
        "suspects": context.suspects(),
        "duplicates": context.duplicates(neighbors),
        "pairs": context.pairs(),
        "mistakes": context.mistakes(),
        "uncertain": context.uncertain(),
        "examples": [context.example(index) for index in chosen],
        "neighbors": context.neighbors(chosen, neighbors),
        "kernels": [kernels for network in networks if (kernels := _kernels(network))],
        "curves": training_curves(runs),
        "classes": context.classes(),
    }


def rows_of(keys: Sequence[str], all_keys: Sequence[str]) -> list[int]:
    """The indices of the images `keys` among `all_keys`. Raises InputError for an unknown key."""
    rows = {key: row for row, key in enumerate(all_keys)}
    for key in keys:
        if key not in rows:
            raise InputError(f"this set has no image with the key {key!r}; its first key is {all_keys[0]!r}")
    return [rows[key] for key in keys]


class _Context:
    """A result and the pictures of its set."""

    def __init__(self, result: EvaluationResult, shard_set: ShardSet) -> None:
        self.result, self.thumbnails = result, Thumbnails(shard_set)
        self.names = [entry.name for entry in result.classes]

    def image(self, index: int, note: str) -> dict[str, Any]:
        """A picture with its key and a line about it."""
        return {"src": self.thumbnails.uri(index), "key": self.result.keys[index], "note": note}

    def guess(self, index: int) -> str:
        """The first guess in words."""
        classes, values = self.result.guesses
        return f"{self.names[classes[index, 0]]} {values[index, 0]:.0%}"

    def label(self, index: int) -> str:
        """The label in words."""
        label = int(self.result.labels_N[index])
        return self.names[label] if label >= 0 else "no label"

    def choose(self, keys: Sequence[str], seed: int) -> list[int]:
        """Indices of the images `keys`, or of eight chosen by `seed`. Raises InputError for an unknown key."""
        if keys:
            return rows_of(keys, self.result.keys)
        drawn = np.random.default_rng(seed).permutation(len(self.result.keys))[:NUM_EXAMPLES]
        return [int(index) for index in drawn]

    def suspects(self) -> dict[str, Any]:
        """Images whose label may be wrong, and the classes with most of them."""
        found = label_suspects(self.result)
        worst = np.argsort(-found.counts_C, kind="stable")[:MAX_CLASSES_LISTED]
        classes = [(self.names[i], int(found.counts_C[i])) for i in worst if found.counts_C[i]]
        images = [
            self.image(int(index), f"labeled {self.label(int(index))}, looks like {self.guess(int(index))}")
            for index in found.indices[:MAX_SHOWN]
        ]
        return {"count": len(found.indices), "classes": classes, "images": images}

    def duplicates(self, neighbors: TrainingNeighbors | None) -> list[dict[str, Any]] | None:
        """Pairs of a validation image and a nearly identical training image; None if neighbors are unknown."""
        if neighbors is None:
            return None
        training = Thumbnails(neighbors.shard_set)
        return [
            {
                "left": self.image(int(row), f"here: {self.label(int(row))}"),
                "right": _training_image(neighbors, training, int(row), 0),
            }
            for row in near_duplicates(neighbors.distances_NK, neighbors.norms_N)
        ]

    def pairs(self) -> list[dict[str, Any]]:
        """The most frequent confusions, each with its most confident example."""
        classes, values = self.result.guesses
        totals = self.result.confusion_CC.sum(1)
        rows = []
        for label, guess, count in confused_pairs(self.result.confusion_CC)[:NUM_PAIRS].tolist():
            those = np.flatnonzero((self.result.labels_N == label) & (classes[:, 0] == guess))
            best = int(those[np.argmax(values[those, 0])])
            rows.append(
                {
                    "label": self.names[label],
                    "guess": self.names[guess],
                    "count": count,
                    "percent": f"{100 * count / totals[label]:.1f}",
                    "image": self.image(best, self.guess(best)),
                }
            )
        return rows

    def mistakes(self) -> list[dict[str, Any]]:
        """The most confident mistakes."""
        return self._ordered(self.result.labeled_N & ~self.result.right_N, sign=-1)

    def uncertain(self) -> list[dict[str, Any]]:
        """The correct guesses with the lowest probability."""
        return self._ordered(self.result.labeled_N & self.result.right_N, sign=1)

    def _ordered(self, wanted_N: NDArray[np.bool_], sign: int) -> list[dict[str, Any]]:
        rows = np.flatnonzero(wanted_N)
        order = np.argsort(sign * self.result.guesses[1][rows, 0], kind="stable")[:MAX_SHOWN]
        return [self.image(int(row), f"{self.guess(int(row))}; label {self.label(int(row))}") for row in rows[order]]

    def example(self, index: int) -> dict[str, Any]:
        """One image with its five most likely classes (paper, Figure 4, left)."""
        classes, values = self.result.guesses
        right = int(self.result.labels_N[index])
        bars = [
            {"name": self.names[k], "percent": f"{100 * value:.1f}", "right": k == right}
            for k, value in zip(classes[index].tolist(), values[index].tolist(), strict=True)
        ]
        return {"image": self.image(index, self.label(index)), "bars": bars}

    def neighbors(self, chosen: Sequence[int], neighbors: TrainingNeighbors | None) -> list[dict[str, Any]]:
        """Images with their six nearest training images (paper, Figure 4, right)."""
        if neighbors is None:
            return []
        training = Thumbnails(neighbors.shard_set)
        count = neighbors.rows_NK.shape[1]
        return [
            {
                "image": self.image(row, self.label(row)),
                "nearest": [_training_image(neighbors, training, row, place) for place in range(count)],
            }
            for row in chosen
        ]

    def classes(self) -> list[dict[str, Any]]:
        """The per-class table, formatted and with intervals."""
        table = self.result.per_class()
        ids = {entry.id: entry.name for entry in self.result.classes}
        rows = []
        for i, name in enumerate(table["name"].tolist()):
            images = int(table["images"][i])
            error, precision = float(table["top1_error"][i]), float(table["precision"][i])
            low, high = wilson_interval(error * images if images else 0, images)
            rows.append(
                {
                    "name": name,
                    "id": str(table["class"][i]),
                    "images": images,
                    "error": None if error != error else f"{100 * error:.1f}",
                    "interval": f"{100 * low:.1f} to {100 * high:.1f}",
                    "precision": None if precision != precision else f"{100 * precision:.1f}",
                    "mistaken": ids.get(str(table["mistaken_for"][i]), ""),
                    "mistaken_images": int(table["mistaken_images"][i]),
                }
            )
        return rows


def _training_image(neighbors: TrainingNeighbors, training: Thumbnails, row: int, place: int) -> dict[str, Any]:
    index = int(neighbors.rows_NK[row, place])
    label = neighbors.shard_set.manifest.classes[int(training.images.index.labels_N[index])].name
    note = f"{label}, distance {neighbors.distances_NK[row, place]:.3g}"
    return {"src": training.uri(index), "key": training.images.index.key(index), "note": note}


def _facts(result: EvaluationResult, networks: Sequence[TrainedNetwork]) -> list[tuple[str, str]]:
    facts = [
        ("shard set", f"{result.shards}, split {result.split}, statistics {result.statistics_sha256[:12]}"),
        ("images", f"{len(result.keys):,}, {result.num_labeled:,} of them labeled"),
        ("classes", f"{len(result.classes):,}"),
    ]
    if result.labels is not None:
        facts.insert(2, ("labels", f"{result.labels}; confused pairs, labels to check and classes use the set's own"))
    for network, row in zip(networks, result.rows, strict=False):
        origin = network.origin
        step = f"step {origin.step:,}, " if origin.step is not None else ""
        parameters = sum(parameter.numel() for parameter in network.parameters())
        facts.append(
            (
                "network" if len(networks) == 1 else Path(network.name).name,
                f"{network.name}, recipe {network.recipe.name}, {step}{parameters:,} parameters, "
                f"weights {origin.sha256[:12]}, computed in {row.precision}",
            )
        )
    versions = result.metrics()["versions"]
    facts.append(("made by", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return facts


def _scores(result: EvaluationResult) -> list[dict[str, Any]]:
    rows = []
    for row, scores in zip(result.rows, result.scores, strict=True):
        cells = {}
        for kind, one in scores.items():
            if not one.num_images:
                continue
            low, high = wilson_interval(one.wrong_1, one.num_images)
            cells[kind] = {
                "top1": f"{100 * one.top1_error:.2f}",
                "interval": f"{100 * low:.2f} to {100 * high:.2f}",
                "top5": f"{100 * one.top5_error:.2f}",
                "loss": "" if one.loss_sum != one.loss_sum else f"{one.loss:.3f}",
            }
        weights = ", ".join(f"{weight:.3f}" for weight in row.weights or ())
        rows.append({"name": row.name, "cells": cells, "weights": weights})
    return rows


def _kernels(network: TrainedNetwork) -> dict[str, Any] | None:
    """The first layer's kernels by column (paper, Figure 3); None if they are not kernels over RGB."""
    first = network.network.sizes[0].name
    kernels = network.network.get_parameter(f"{first}.weight").detach().cpu().numpy()
    if kernels.ndim != 4 or kernels.shape[1] != 3:
        return None
    blocks = np.split(kernels, network.network.wiring.columns)
    pictures = [png_uri((255 * kernel_tiles(block, per_row=8)).round().astype(np.uint8)) for block in blocks]
    return {"name": network.name, "size": kernels.shape[-1], "columns": pictures, "count": len(blocks[0])}
