"""Evaluate networks on a shard set: every network, every view, each image once, on any number of processes.

An ensemble is the mean of its networks' probabilities, image by image (paper, section 6.1), with equal weights or with
weights searched on these images.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ...errors import InputError
from ...pipeline import Loader
from ...pipeline.sets import require_images
from ...pipeline.storage import Samples
from ...prep import ShardSet
from ...prep.format.files import free_bytes
from ...prep.format.manifest import MANIFEST_NAME, ClassEntry
from ...prep.format.manifest import UNLABELED as UNLABELED_CLASS
from ..processes.layout import make_layout
from ..runs.run import DataIdentity
from .forward import IN_MEMORY_BYTES, captured, large_array, store_features, view_probabilities
from .label_sets import LabelSets, read_label_sets
from .result import BLOCK, UNLABELED, EvaluationResult, Predictions
from .trained import TrainedNetwork
from .views import SomeViews, ViewKind, choose_views
from .weight_search import cross_fitted_weights, search_weights

Report = Callable[[int], None]
REDUCED_BYTES = 2**26  # of an array per all-reduce


class Evaluation:
    """Evaluates networks on one shard set; all arguments are checked in the constructor.

    Args:
        networks: one or several `TrainedNetwork` objects on one device.
        shards: a shard set, or a folder with one set per split.
        split: the split to evaluate on, if `shards` holds several.
        views: kinds of views; None for the center crop and the others that suit each network.
        batch_size: images per batch; with several views, about this many views per batch.
        weights: "mean" or "search": how several networks are combined.
        labels: a file of labels to use instead of the set's own; see `label_sets`.
        keep_features: whether to keep the first network's last hidden activations.

    Raises InputError if the set has classes that the networks do not know, for views that would be wrong, and for
    labels that do not fit.
    """

    def __init__(
        self,
        networks: TrainedNetwork | Sequence[TrainedNetwork],
        shards: str | Path,
        *,
        split: str = "val",
        views: Sequence[ViewKind] | None = None,
        batch_size: int = 64,
        weights: Literal["mean", "search"] = "mean",
        labels: str | Path | None = None,
        keep_features: bool = False,
    ) -> None:
        self.networks = [networks] if isinstance(networks, TrainedNetwork) else list(networks)
        if not self.networks:
            raise InputError("no network to evaluate; name at least one")
        if weights not in ("mean", "search"):
            raise InputError(f"weights must be mean or search, got {weights!r}")
        if batch_size < 1:
            raise InputError(f"batch size must be at least 1, got {batch_size}")
        self.shards, self.batch_size, self.keep_features = Path(shards), batch_size, keep_features
        self.shard_set = open_split(self.shards, split)
        self.device = self.networks[0].device
        self.classes = _common_classes(self.networks, self.shard_set)
        self.searches = weights == "search" and len(self.networks) > 1
        manifest = self.shard_set.manifest
        self.views = [
            choose_views(
                views,
                size_px=manifest.pixels.size_px,
                crop_px=network.recipe.data.crop,
                flip=network.recipe.data.flip,
                name=network.name,
                network=network.recipe.network.kind,
            )
            for network in self.networks
        ]
        if not set.intersection(*map(set, self.views)):
            each = ", ".join(
                f"{one.name} {'/'.join(kinds)}" for one, kinds in zip(self.networks, self.views, strict=True)
            )
            raise InputError(f"no kind of views suits all networks ({each}); evaluate them one by one")
        for network in self.networks:
            if network.statistics is None and manifest.split != "train":
                network.mean_CHW()  # raises if it is unknown
        samples = Samples([self.shard_set])
        indices_N = np.arange(manifest.num_samples)
        self.keys = tuple(samples.keys(indices_N))
        self.labels_N = self._own_labels(samples.labels_N)
        self.label_sets: LabelSets | None = None
        self.labels = None if labels is None else Path(labels).name
        if labels is not None:
            self.label_sets = read_label_sets(Path(labels), self.keys, [entry.id for entry in self.classes])
        if self.searches and np.count_nonzero(self.labels_N >= 0) < 2:
            raise InputError(
                f"{self.shard_set.folder}: searching weights needs at least two images with labels, one in each half; "
                "omit --search-weights"
            )
        self._require_room()
        self.layout = make_layout(1, 1, self.device)

    @property
    def num_images(self) -> int:
        """Images that `run` will process, counting each pass over the set."""
        return len(self._groups()) * len(self.keys)

    @property
    def has_labels(self) -> bool:
        """Whether any image has a label to score against."""
        return bool((self.labels_N >= 0).any()) or (
            self.label_sets is not None and bool(self.label_sets.counts_N.any())
        )

    def run(self, report: Report | None = None) -> EvaluationResult:
        """Evaluate every image and return the result, the same in all processes.

        Args:
            report: called with the approximate number of images seen so far by all processes together.
        """
        num_images, num_classes = len(self.keys), len(self.classes)
        found: list[dict[ViewKind, NDArray[np.float32]]] = [
            {kind: large_array((num_images, num_classes), np.float32) for kind in kinds} for kinds in self.views
        ]
        self._features: NDArray[np.floating] | None = None
        seen = 0
        with self.layout.contact():
            for group in self._groups():
                seen = self._pass(group, found, seen, report)
            for arrays in found:
                for array in arrays.values():
                    self._add_up(array)
            if self._features is not None:
                self._add_up(self._features)
        members = tuple(
            Predictions(
                name=network.name,
                origin=network.origin,
                precision=str(network.precision).removeprefix("torch."),
                probabilities=arrays,
                features_ND=self._features if network is self.networks[0] else None,
            )
            for network, arrays in zip(self.networks, found, strict=True)
        )
        return EvaluationResult(
            shards=str(self.shard_set.location),
            split=self.shard_set.manifest.split,
            statistics_sha256=self.shard_set.manifest.statistics_sha256,
            keys=self.keys,
            classes=self.classes,
            labels_N=self.labels_N,
            rows=members + self._together(members),
            label_sets=self.label_sets,
            labels=self.labels,
            notes=tuple(self._notes()),
        )

    def close(self) -> None:
        """Leave the process group."""
        self.layout.close()

    def _pass(
        self, group: list[int], found: list[dict[ViewKind, NDArray[np.float32]]], seen: int, report: Report | None
    ) -> int:
        """One pass over the set for a group of networks that see the same pixels."""
        augment = self._augment(group)
        size_px = self.shard_set.manifest.pixels.size_px
        num_views = len(augment.fixed_views(size_px))
        rows = {kind: augment.rows(kind, size_px) for kind in augment.kinds}
        keeps = self.keep_features and group[0] == 0
        with Loader(
            self.shard_set.folder,
            batch_size=max(self.batch_size // num_views, 1),
            augment=augment,
            device=str(self.device),
            channels_last=True,
            replica=self.layout.replica,
            num_replicas=self.layout.num_replicas,
        ) as loader:
            for batch in loader:
                indices = batch.indices[batch.mask].cpu().numpy()
                for number in group:
                    network = self.networks[number]
                    with torch.no_grad(), captured(network, None) as hidden:
                        views_BVC = view_probabilities(network, batch, network.precision)[batch.mask]
                    for kind in self.views[number]:
                        found[number][kind][indices] = views_BVC[:, rows[kind]].mean(1).cpu().numpy()
                    if keeps and number == 0:
                        units_BVD = hidden[0].view(-1, num_views, hidden[0].shape[1])
                        if self._features is None:
                            self._features = large_array((len(self.keys), units_BVD.shape[2]), np.float16)
                        store_features(self._features, batch, units_BVD[:, rows["center"][0]])
                seen += len(indices) * self.layout.num_replicas
                if report:
                    report(min(seen, self.num_images))
        return seen

    def _groups(self) -> list[list[int]]:
        """Indices of the networks, grouped by the pixels they see; each group takes one pass over the set."""
        groups: dict[object, list[int]] = {}
        for number, network in enumerate(self.networks):
            data, sums = network.recipe.data, network.statistics
            mean_image = None if sums is None else (sums.num_images, sums.image_HWC.tobytes())
            groups.setdefault((data.crop, str(network.mean), mean_image), []).append(number)
        return list(groups.values())

    def _augment(self, group: list[int]) -> SomeViews:
        first = self.networks[group[0]]
        kinds = tuple(dict.fromkeys(kind for number in group for kind in self.views[number]))
        if self.keep_features and group[0] == 0 and "center" not in kinds:
            kinds = ("center", *kinds)
        return SomeViews(crop=first.recipe.data.crop, mean=first.mean, mean_from=first.statistics, kinds=kinds)

    def _add_up(self, array: NDArray[np.floating]) -> None:
        """Sum an array over the processes, each of which has filled the rows of its own images."""
        if self.layout.num_replicas == 1:
            return
        step = max(REDUCED_BYTES // max(array[0].nbytes, 1), 1)
        for start in range(0, len(array), step):
            block = torch.from_numpy(np.ascontiguousarray(array[start : start + step])).to(self.device)
            dist.all_reduce(block)
            array[start : start + step] = block.cpu().numpy()

    def _together(self, members: tuple[Predictions, ...]) -> tuple[Predictions, ...]:
        """The mean of several networks and, if weights are searched, the weighted mean."""
        if len(members) == 1:
            return ()
        kinds = [kind for kind in members[0].probabilities if all(kind in member.probabilities for member in members)]
        arrays = {kind: [member.probabilities[kind] for member in members] for kind in kinds}
        equal_M1 = np.full((len(members), 1), 1 / len(members))
        means = {kind: weighted_mean(arrays[kind], equal_M1) for kind in kinds}
        origins = tuple(network.origin for network in self.networks)
        mean = Predictions(name="all together", origin=None, members=origins, probabilities=means)
        if not self.searches:
            return (mean,)
        known = np.flatnonzero(self.labels_N >= 0)
        own_MN = np.stack([array[known, self.labels_N[known]] for array in arrays[mean.main_view]])
        weights_MN = cross_fitted_weights(own_MN, len(self.keys), known)
        searched = {kind: weighted_mean(arrays[kind], weights_MN) for kind in kinds}
        weights = tuple(search_weights(own_MN).tolist())
        return mean, Predictions(
            name="all together, weighted", origin=None, members=origins, probabilities=searched, weights=weights
        )

    def _notes(self) -> list[str]:
        notes = []
        for network in self.networks:
            if network.pixels is not None and network.pixels != self.shard_set.manifest.pixels:
                notes.append(f"{network.name} was trained on images prepared differently from those of this set")
        return notes

    def _require_room(self) -> None:
        """Raise InputError if probabilities that are too large for memory do not fit on the disk."""
        common = len(set.intersection(*map(set, self.views))) * (1 + self.searches) if len(self.networks) > 1 else 0
        one = len(self.keys) * len(self.classes) * np.dtype(np.float32).itemsize
        if one <= IN_MEMORY_BYTES:
            return
        arrays = sum(map(len, self.views)) + common
        needed, folder = one * arrays * int(os.environ.get("LOCAL_WORLD_SIZE", 1)), Path(tempfile.gettempdir())
        if needed > (free := free_bytes(folder)):
            raise InputError(
                f"{folder}: {needed / 1e9:.1f} GB of probabilities do not fit, {free / 1e9:.1f} GB are free "
                f"({len(self.keys):,} images x {len(self.classes):,} classes, {arrays} times for networks and views); "
                "set TMPDIR to a folder on a larger disk, or use fewer --views, networks or processes"
            )

    def _own_labels(self, labels_N: NDArray[np.int32]) -> NDArray[np.int64]:
        """The set's labels as class numbers of the networks."""
        numbers = {entry.id: entry.index for entry in self.classes}
        table = [numbers.get(entry.id, UNLABELED) for entry in self.shard_set.manifest.classes]
        return np.array([*table, UNLABELED], np.int64)[labels_N]


def evaluate(
    networks: TrainedNetwork | Sequence[TrainedNetwork],
    shards: str | Path,
    *,
    split: str = "val",
    views: Sequence[ViewKind] | None = None,
    batch_size: int = 64,
    weights: Literal["mean", "search"] = "mean",
    labels: str | Path | None = None,
    keep_features: bool = False,
) -> EvaluationResult:
    """Evaluate one network, or several individually and together, on a shard set; arguments as for `Evaluation`."""
    evaluation = Evaluation(
        networks,
        shards,
        split=split,
        views=views,
        batch_size=batch_size,
        weights=weights,
        labels=labels,
        keep_features=keep_features,
    )
    try:
        return evaluation.run()
    finally:
        evaluation.close()


def open_split(shards: Path, split: str) -> ShardSet:
    """Open the shard set `shards`, or its `split` if it is a folder of sets. Raises InputError if the set is empty."""
    if not shards.is_dir():
        raise InputError(f"--shards {shards}: no such folder; name one that 'alexprep shard' wrote")
    folder = shards if (shards / MANIFEST_NAME).exists() else shards / split
    others = sorted(path.parent.name for path in shards.glob(f"*/{MANIFEST_NAME}"))
    if others and not folder.exists():
        raise InputError(f"{shards}: has no split {split}, only {', '.join(others)}; choose one with --split")
    shard_set = ShardSet.open(folder)
    require_images(shard_set)
    return shard_set


def weighted_mean(arrays: Sequence[NDArray[np.float32]], weights_MN: NDArray[np.float64]) -> NDArray[np.float32]:
    """The mean of M arrays (N, classes) with weights (M, N), or (M, 1) for the same weights in all images."""
    result = large_array(arrays[0].shape, np.float32)
    for start in range(0, len(result), BLOCK):
        rows = slice(start, start + BLOCK)
        weights_MB = weights_MN if weights_MN.shape[1] == 1 else weights_MN[:, rows]
        result[rows] = sum(w_B[:, None] * array[rows] for w_B, array in zip(weights_MB, arrays, strict=True))
    return result


def _common_classes(networks: Sequence[TrainedNetwork], shard_set: ShardSet) -> tuple[ClassEntry, ...]:
    """The networks' class table. Raises InputError if theirs differ or the set has a class that they do not know."""
    data = DataIdentity.of(shard_set)
    labeled = data.class_ids != (UNLABELED_CLASS,)
    if labeled and len(data.class_ids) < 2:
        raise InputError(f"{shard_set.folder}: has only one class; an evaluation needs at least two")
    first = networks[0]
    table = first.classes or (data.classes if labeled else _numbered(first.num_classes))
    ids = [entry.id for entry in table]
    for network in networks:
        if network.classes is not None and [entry.id for entry in network.classes] != ids:
            raise InputError(f"{network.name} and {first.name} have different classes; evaluate them separately")
        unknown = [id for id in data.class_ids if id not in set(ids)] if labeled else []
        if unknown or len(ids) != network.num_classes:
            raise InputError(
                f"{network.name}: this run was trained on another dataset ({_some(ids)}) than {shard_set.folder} "
                f"({_some(data.class_ids)}); evaluate it on images of its own classes"
            )
    return table


def _numbered(num_classes: int) -> tuple[ClassEntry, ...]:
    return tuple(ClassEntry(index=i, id=str(i), name=str(i)) for i in range(num_classes))


def _some(class_ids: Sequence[str]) -> str:
    return f"{len(class_ids)} classes: {', '.join(class_ids[:3])}{', …' if len(class_ids) > 3 else ''}"
