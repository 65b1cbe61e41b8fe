"""The result of an evaluation: scores by network and view, and per-image predictions for closer analysis.

Tables are dictionaries of NumPy columns of equal length, which can be passed to `pandas.DataFrame`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...prep.format.manifest import ClassEntry
from ..runs.provenance import software_versions
from .label_sets import LabelSets
from .metrics import Calibration, ClassRates, confused_pairs, confusion_matrix, wilson_interval
from .scores import MIN_CLASSES_FOR_TOP5, Score, score
from .trained import Origin
from .views import ViewKind

Table = dict[str, NDArray[Any]]
BLOCK = 8192
UNLABELED = -1


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The probabilities of one network, or of several together, for every image of a set."""

    name: str
    """The name shown in tables."""
    origin: Origin | None
    """The origin of the weights; None for several networks together."""
    probabilities: dict[ViewKind, NDArray[np.float32]]
    """By kind of views: means over the views, float32 (N, classes), by image index."""
    precision: str | None = None
    """The dtype of the network's convolutions and matrix products, such as "float32", which `auto` chooses by device;
    None for several networks together."""
    members: tuple[Origin, ...] = ()
    """For several networks together, the origin of each one's weights."""
    weights: tuple[float, ...] | None = None
    """Searched weights of the networks, fitted on all labeled images. The probabilities, however, are cross-fitted:
    each image's use weights that were searched without it."""
    features_ND: NDArray[np.floating] | None = None
    """Activations of the last hidden layer for the center crop, by image index; None if not requested."""

    @property
    def main_view(self) -> ViewKind:
        """The kind with the most views, used for per-image tables."""
        return max(self.probabilities, key=("center", "nine", "ten").index)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The result of evaluating networks on a shard set."""

    shards: str
    """The set's folder, as given by the user."""
    split: str
    """The set's split."""
    statistics_sha256: str
    """The hash of the set's statistics, which identifies its images."""
    keys: tuple[str, ...]
    """Keys of the samples, by image index."""
    classes: tuple[ClassEntry, ...]
    """The class table in the order of the networks' outputs."""
    labels_N: NDArray[np.int64]
    """Correct classes by image index; -1 if unknown."""
    rows: tuple[Predictions, ...]
    """Each network individually, then several together."""
    label_sets: LabelSets | None = None
    """Other labels to score against, possibly several per image; None for the set's own."""
    labels: str | None = None
    """The name of the file with these labels."""
    notes: tuple[str, ...] = ()
    """Remarks that a reader of the numbers should know."""

    @property
    def final(self) -> Predictions:
        """All networks together, or the only one; used for per-image and per-class tables."""
        return self.rows[-1]

    @cached_property
    def labeled_N(self) -> NDArray[np.bool_]:
        """Whether each image is scored."""
        return self.labels_N >= 0 if self.label_sets is None else self.label_sets.counts_N > 0

    @property
    def num_labeled(self) -> int:
        """Number of images that are scored."""
        return int(self.labeled_N.sum())

    @property
    def has_top5(self) -> bool:
        """Whether the top-5 error is meaningful: not with five classes or fewer."""
        return len(self.classes) >= MIN_CLASSES_FOR_TOP5

    def score(self, predictions: Predictions, view: ViewKind) -> Score:
        """The score of one row of the table for one kind of views, over the labeled images."""
        if self.label_sets is not None:
            return self.label_sets.score(predictions.probabilities[view])
        total, chosen = Score(), np.flatnonzero(self.labeled_N)
        for start in range(0, len(chosen), BLOCK):
            rows = chosen[start : start + BLOCK]
            block_NC = torch.from_numpy(predictions.probabilities[view][rows])
            total = total + score(block_NC, torch.from_numpy(self.labels_N[rows]))
        return total

    @cached_property
    def scores(self) -> tuple[dict[ViewKind, Score], ...]:
        """The `score` of every row for every kind of views."""
        return tuple({view: self.score(row, view) for view in row.probabilities} for row in self.rows)

    @cached_property
    def guesses(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The five most likely classes (or all, if there are fewer) and their probabilities, (N, 5) each."""
        probabilities_NC = self.final.probabilities[self.final.main_view]
        k = min(5, probabilities_NC.shape[1])
        classes = np.empty((len(probabilities_NC), k), np.int64)
        values = np.empty((len(probabilities_NC), k), np.float32)
        for start in range(0, len(probabilities_NC), BLOCK):
            block = slice(start, start + BLOCK)
            top = torch.from_numpy(np.asarray(probabilities_NC[block])).topk(k, dim=1)
            values[block], classes[block] = top.values.numpy(), top.indices.numpy()
        return classes, values

    @cached_property
    def right_N(self) -> NDArray[np.bool_]:
        """Whether each image's first guess is correct; False if no label is known."""
        first_N = self.guesses[0][:, 0]
        if self.label_sets is not None:
            return self.label_sets.contains(first_N)
        right_N: NDArray[np.bool_] = (first_N == self.labels_N) & self.labeled_N
        return right_N

    @cached_property
    def confusion_CC(self) -> NDArray[np.int64]:
        """Numbers of images by (label, first guess), for the set's own labels, int64 (classes, classes)."""
        known = self.labels_N >= 0
        return confusion_matrix(self.labels_N[known], self.guesses[0][known, 0], len(self.classes))

    @cached_property
    def calibration(self) -> Calibration:
        """The reliability diagram of the labeled images."""
        return Calibration.of(self.guesses[1][self.labeled_N, 0], self.right_N[self.labeled_N])

    @cached_property
    def own_probability_N(self) -> NDArray[np.float32]:
        """Each image's probability of its label; 0 if no label is known."""
        probabilities_NC = self.final.probabilities[self.final.main_view]
        own_N = probabilities_NC[np.arange(len(self.labels_N)), np.maximum(self.labels_N, 0)]
        return np.where(self.labels_N >= 0, own_N, 0).astype(np.float32)

    def predictions(self) -> Table:
        """One row per image: key, label (an id, "" if unknown), and up to five classes with their probabilities."""
        ids = np.array([entry.id for entry in self.classes])
        classes, values = self.guesses
        labels = np.where(self.labels_N >= 0, ids[np.maximum(self.labels_N, 0)], "")
        table: Table = {"key": np.array(self.keys), "label": labels}
        for place in range(classes.shape[1]):
            table[f"class_{place + 1}"] = ids[classes[:, place]]
            table[f"probability_{place + 1}"] = values[:, place]
        return table

    def per_class(self) -> Table:
        """One row per class: images, error, precision, mean probability of the label, and most frequent confusion."""
        known = self.labels_N >= 0
        rates = ClassRates.of(self.confusion_CC, self.labels_N[known], self.own_probability_N[known])
        wrong_CC = self.confusion_CC.copy()
        np.fill_diagonal(wrong_CC, 0)
        ids = np.array([entry.id for entry in self.classes])
        return {
            "class": ids,
            "name": np.array([entry.name for entry in self.classes]),
            "images": rates.images_C,
            "top1_error": 1 - rates.recall_C,
            "precision": rates.precision_C,
            "mean_probability": rates.confidence_C,
            "mistaken_for": np.where(wrong_CC.max(1) > 0, ids[wrong_CC.argmax(1)], ""),
            "mistaken_images": wrong_CC.max(1),
        }

    def confusions(self) -> Table:
        """One row per confusion that occurs, the most frequent first; `fraction` is relative to the label's images."""
        pairs = confused_pairs(self.confusion_CC)
        ids = np.array([entry.id for entry in self.classes])
        return {
            "label": ids[pairs[:, 0]],
            "guess": ids[pairs[:, 1]],
            "images": pairs[:, 2],
            "fraction": pairs[:, 2] / np.maximum(self.confusion_CC.sum(1)[pairs[:, 0]], 1),
        }

    def metrics(self) -> dict[str, Any]:
        """All numbers of the evaluation as plain JSON data, with the software versions that computed them."""
        return {
            "shards": self.shards,
            "split": self.split,
            "statistics_sha256": self.statistics_sha256,
            "labels": self.labels,
            "images": len(self.keys),
            "labeled_images": self.num_labeled,
            "classes": len(self.classes),
            "calibration_error": self.calibration.error if self.num_labeled else None,
            "calibration_of": {"name": self.final.name, "views": self.final.main_view},
            "rows": [self._row(row, scores) for row, scores in zip(self.rows, self.scores, strict=True)],
            "notes": list(self.notes),
            "versions": software_versions(),
        }

    def _row(self, row: Predictions, scores: dict[ViewKind, Score]) -> dict[str, Any]:
        result: dict[str, Any] = {"name": row.name}
        if row.origin is not None:
            result["checkpoint"] = {"step": row.origin.step, "sha256": row.origin.sha256}
        if row.precision is not None:
            result["precision"] = row.precision
        if row.members:
            result["members"] = [{"step": one.step, "sha256": one.sha256} for one in row.members]
        if row.weights is not None:
            result["weights"] = list(row.weights)
        return result | {view: score_json(one, top5=self.has_top5) for view, one in scores.items() if one.num_images}


def score_json(one: Score, *, top5: bool) -> dict[str, Any]:
    """Error rates with their 95 % Wilson intervals, and the loss (absent if images have sets of labels)."""
    result: dict[str, Any] = {"images": one.num_images}
    for name, wrong in (("top1_error", one.wrong_1), *([("top5_error", one.wrong_5)] if top5 else [])):
        result[name] = wrong / one.num_images
        result[f"{name}_95"] = list(wilson_interval(wrong, one.num_images))
    if one.loss_sum == one.loss_sum:
        result["loss"] = one.loss
    return result
