"""The dataset card of shard sets, `README.md`: what they hold, how they were made, and what `datasets` needs.

From its metadata, Hugging Face's `datasets.load_dataset(FOLDER)` gets the splits and the class names of the labels.
"""

import json
import mmap
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ... import __version__
from ...hub import CARD_MARKS, CARD_NAME, is_our_card
from .files import whole_file
from .manifest import UNLABELED, ClassEntry, Manifest
from .pixel_options import IMAGE_EXTENSIONS
from .sample_index import SAMPLE_INDEX_NAME
from .shard import END_BYTES, LABEL_EXT
from .shard_set import ShardSet

MAX_CLASSES = 20
_LABEL_BYTES = 2 * tarfile.BLOCKSIZE  # of a label in a tar: its header and its digits
_HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}
# How `datasets` reads members by their last extension; all others are bytes.
_NUMBERS = ("cls", "cls2", "index", "inx", "id")
_TEXTS = ("txt", "text", "transcript")
_STRUCTURES = ("json", "jsn", "ten", "tb", "mp", "msg", "npy", "npz", "cbor", "pyd")


def write_dataset_card(out: Path, shard_sets: Sequence[ShardSet]) -> None:
    """Write `out/README.md` for the shard sets in folders of `out`; a README that is not ours stays as it is."""
    path, content = out / CARD_NAME, dataset_card(shard_sets).encode("utf-8", "replace")
    if not path.exists() or (is_our_card(path, kind="dataset") and path.read_bytes() != content):
        with whole_file(path) as file:
            file.write(content)


def dataset_card(shard_sets: Sequence[ShardSet], name: str | None = None) -> str:
    """The README.md of shard sets in folders named by their splits.

    Args:
        shard_sets: The sets.
        name: ORG/NAME of the repository that they are uploaded to; None for a folder.
    """
    first = shard_sets[0].manifest
    splits = [one.manifest.split for one in shard_sets]
    manifests = [one.manifest for one in shard_sets]
    configs = "".join(f"  - split: {_HUB_SPLITS[one.split]}\n    path: {pattern_of_tars(one)}\n" for one in manifests)
    rows = "".join(
        f"| {one.manifest.split} | {one.manifest.num_samples:,} | {len(one.manifest.shards):,} "
        f"| {sum(shard.num_bytes for shard in one.manifest.shards) / 1e6:,.1f} | {len(one.manifest.quarantined):,} |\n"
        for one in shard_sets
    )
    pixels, color = first.pixels, first.color
    stored = dict.fromkeys(map(_how_stored, manifests))
    mean = ", ".join(f"{value:.3f}" for value in color.mean_C)
    sigma = ", ".join(f"{value:.3f}" for value in color.standard_deviations_K)
    shown = ", ".join(entry.name for entry in first.classes[:MAX_CLASSES])
    more = f" and {len(first.classes) - MAX_CLASSES:,} more" if len(first.classes) > MAX_CLASSES else ""
    get = f"# after: hf download {name} --repo-type dataset --local-dir shards" if name else "# in the folder above"
    return f"""---
task_categories:
- image-classification
tags:
- webdataset
- alexkit
configs:
- config_name: default
  data_files:
{configs}{_features(shard_sets)}---

{CARD_MARKS["dataset"]}

# {name.split("/")[-1] if name else "Images as WebDataset shards"}

WebDataset shards of images with one class each: {_members(first)}
alexkit {first.alexkit_version or __version__}.

The license is that of the images; whoever uploaded them is responsible for sharing them.

| split | images | shards | MB | left out |
|---|---|---|---|---|
{rows}
{"".join(stored)}- mean color, gray levels 0-255: {mean}
- standard deviations along the principal colors: {sigma}
- {len(first.classes):,} classes: {shown}{more}

`manifest.json` in each split holds every option, the class table and the SHA-256 of every file.

```python
from alexkit.pipeline import Loader, TrainAugment

{get}
augment = TrainAugment(crop={min(224, pixels.size_px)})
with Loader("shards/{splits[0]}", batch_size=256, augment=augment, seed=0) as loader:
    batch = next(iter(loader))
```
"""


def pattern_of_tars(manifest: Manifest) -> str:
    """Glob pattern of the tars, relative to the folder that holds the splits."""
    stems = [shard.name.removesuffix(".tar") for shard in manifest.shards]
    # Adopted tars keep their names, whatever these are.
    begin = re.sub("[0-9]+$", "", os.path.commonprefix(stems))  # noqa: RUF071 - letters, not steps of a path
    return f"{manifest.split}/{begin if re.fullmatch('[A-Za-z0-9._-]*', begin) else ''}*.tar"


def _members(manifest: Manifest) -> str:
    image = f"`KEY.{manifest.pixels.image_ext}`"
    return "tars made elsewhere, adopted by" if manifest.unknown else f"{image} and `KEY.cls` in each tar, made by"


def _how_stored(manifest: Manifest) -> str:
    """How the images were stored, as far as known: for adopted tars, what the images themselves show."""
    pixels = manifest.pixels
    words = f"- stored as: {pixels.format}, {pixels.size_px} px"
    if manifest.unknown:
        return f"{words}\n"
    return f"{words}, fit {pixels.fit}, filter {pixels.filter}\n- shuffled with seed {manifest.seed}\n"


def _features(shard_sets: Sequence[ShardSet]) -> str:
    """The types of all members, from which `datasets` gets the class names.

    Empty if members have a structure of their own, such as JSON, which `datasets` must inspect, if splits differ in
    classes or image format, if a set in a store has extra members, and if images or labels of adopted tars have other
    names.
    """
    first = shard_sets[0].manifest
    tables = {one.manifest.classes for one in shard_sets if one.manifest.classes[0].id != UNLABELED}
    formats = {one.manifest.pixels.image_ext for one in shard_sets}
    if len(tables) > 1 or len(formats) > 1 or not all(map(_is_as_we_write, shard_sets)):
        return ""
    if any(map(_has_extras_in_a_store, shard_sets)):
        return ""
    extras = sorted({ext for one in shard_sets for ext in _extra_exts(one)})
    last = {ext: ext.rpartition(".")[2] for ext in extras}
    if any(kind in _STRUCTURES for kind in last.values()):
        return ""
    # The table of a set without labels names no class, and its labels are -1.
    classes = next(iter(tables), first.classes)
    names = "".join(f"          '{i}': {_quoted(name)}\n" for i, name in enumerate(_unique_names(classes)))
    image = "binary" if first.pixels.format == "raw" else "image"
    lines = [f"  - name: {first.pixels.image_ext}\n    dtype: {image}\n"]
    lines.append(f"  - name: {LABEL_EXT}\n    dtype:\n      class_label:\n        names:\n{names}")
    for ext, kind in last.items():
        is_image = kind in (*IMAGE_EXTENSIONS.values(), "jpeg") and kind != "raw"
        dtype = "int64" if kind in _NUMBERS else "string" if kind in _TEXTS else "image" if is_image else "binary"
        lines.append(f"  - name: {_quoted(ext)}\n    dtype: {dtype}\n")
    lines += [f"  - name: {name}\n    dtype: string\n" for name in ("__key__", "__url__")]
    return f"dataset_info:\n  features:\n{''.join(lines)}"


def _is_as_we_write(shard_set: ShardSet) -> bool:
    """Whether members are named KEY.EXT and KEY.cls and labels are numbers, as in all sets but some adopted ones."""
    manifest = shard_set.manifest
    if not manifest.unknown:
        return True
    if not manifest.labels_are_indices or shard_set.url is not None:
        return False
    for number, shard in enumerate(manifest.shards):
        index = shard_set.index(number)
        if index.label_ext != LABEL_EXT:
            return False
        with (shard_set.folder / shard.name).open("rb") as file:
            for start in index.image_offsets.tolist():
                file.seek(start - tarfile.BLOCKSIZE)
                member = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
                if _ext(member) != manifest.pixels.image_ext:
                    return False
    return True


def _ext(member: tarfile.TarInfo) -> str:
    """The name of a member's column in `datasets`: everything after the first dot of its name."""
    return member.name.rpartition("/")[2].partition(".")[2]


def _unique_names(classes: Sequence[ClassEntry]) -> Iterator[str]:
    """The class names, unique as `datasets` requires: ImageNet's two classes named crane get their ids added."""
    counts = Counter(entry.name for entry in classes)
    for entry in classes:
        yield entry.name if counts[entry.name] == 1 else f"{entry.name} ({entry.id})"


def _quoted(text: str) -> str:
    """A text for YAML, which understands JSON's escapes; bytes that are not UTF-8 become question marks."""
    return json.dumps(text.encode("utf-8", "replace").decode(), ensure_ascii=False)


def _extra_exts(shard_set: ShardSet) -> Iterator[str]:
    """Extensions of the members that are stored with images, in the shards that are on this machine."""
    if shard_set.url is not None:
        return
    index = shard_set.sample_index()
    plain = _LABEL_BYTES + tarfile.BLOCKSIZE  # and the header of the next image
    for number, entry in enumerate(shard_set.manifest.shards):
        path = shard_set.folder / entry.name
        first, last = int(index.first_S[number]), int(index.first_S[number + 1])
        if first == last or not path.is_file():
            continue
        ends_N = index.starts_N[first:last] + index.sizes_N[first:last]
        ends_N = ends_N + -ends_N % tarfile.BLOCKSIZE
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for i, end in enumerate(ends_N.tolist()):
                is_last = i + 1 == len(ends_N)
                stop = len(content) if is_last else int(index.starts_N[first + i + 1]) - tarfile.BLOCKSIZE
                if is_last or stop + tarfile.BLOCKSIZE - end > plain:
                    yield from _exts_between(content, end, stop)


def _has_extras_in_a_store(shard_set: ShardSet) -> bool:
    """Whether images of a set in a store have members of unknown names beside them: by the space between the images.

    False if `index.bin` is not on this machine, as for sets that other runs made, and if only the last image of a shard
    has such a member, which fits in the padding at the tar's end.
    """
    if shard_set.url is None or not (shard_set.folder / SAMPLE_INDEX_NAME).exists():
        return False
    index = shard_set.sample_index()
    for number, entry in enumerate(shard_set.manifest.shards):
        rows = slice(int(index.first_S[number]), int(index.first_S[number + 1]))
        ends_N = index.starts_N[rows] + index.sizes_N[rows]
        ends_N += -ends_N % tarfile.BLOCKSIZE
        if (index.starts_N[rows][1:] - tarfile.BLOCKSIZE - ends_N[:-1] > _LABEL_BYTES).any():
            return True
        if len(ends_N) and entry.num_bytes - int(ends_N[-1]) - _LABEL_BYTES - END_BYTES >= tarfile.RECORDSIZE:
            return True
    return False


def _exts_between(content: mmap.mmap, position: int, stop: int) -> Iterator[str]:
    while position < stop and content[position]:
        member = tarfile.TarInfo.frombuf(content[position : position + tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        if (ext := _ext(member)) != LABEL_EXT:
            yield ext
        position += tarfile.BLOCKSIZE * (1 + -(-member.size // tarfile.BLOCKSIZE))
