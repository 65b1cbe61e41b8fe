"""The card of a shard set that is shared: what it holds, how it was made, how to read it."""

from collections.abc import Sequence

from ... import __version__
from ..format.shard_set import ShardSet

MAX_CLASSES = 20


def dataset_card(shard_sets: Sequence[ShardSet], name: str) -> str:
    """The README.md of a dataset repository, with the metadata that the Hub reads."""
    first = shard_sets[0].manifest
    splits = [one.manifest.split for one in shard_sets]
    configs = "".join(f"  - split: {split}\n    path: {split}/{split}-*.tar\n" for split in splits)
    rows = "".join(
        f"| {one.manifest.split} | {one.manifest.num_samples:,} | {len(one.manifest.shards):,} "
        f"| {sum(shard.num_bytes for shard in one.manifest.shards) / 1e6:,.1f} | {len(one.manifest.quarantined):,} |\n"
        for one in shard_sets
    )
    pixels, color = first.pixels, first.color
    mean = ", ".join(f"{value:.3f}" for value in color.mean_C)
    sigma = ", ".join(f"{value:.3f}" for value in color.standard_deviations_K)
    shown = ", ".join(entry.name for entry in first.classes[:MAX_CLASSES])
    more = f" and {len(first.classes) - MAX_CLASSES:,} more" if len(first.classes) > MAX_CLASSES else ""
    return f"""---
task_categories:
- image-classification
tags:
- webdataset
- alexkit
configs:
- config_name: default
  data_files:
{configs}---

# {name.split("/")[-1]}

WebDataset shards of images with one class each: `KEY.{pixels.image_ext}` and `KEY.cls` in each tar, made by
alexkit {first.alexkit_version or __version__}.

The license is that of the images; whoever uploaded them is answerable for sharing them.

| split | images | shards | MB | left out |
|---|---|---|---|---|
{rows}
- stored as: {pixels.format}, {pixels.size_px} px, fit {pixels.fit}, filter {pixels.filter}
- shuffled with seed {first.seed}
- mean color, gray levels 0-255: {mean}
- standard deviations along the principal colors: {sigma}
- {len(first.classes):,} classes: {shown}{more}

`manifest.json` in each split holds every option, the class table and the SHA-256 of every file.

```python
from alexkit.pipeline import Loader, TrainAugment

# after: hf download {name} --repo-type dataset --local-dir shards
augment = TrainAugment(crop={min(224, pixels.size_px)})
with Loader("shards/{splits[0]}", batch_size=256, augment=augment, seed=0) as loader:
    batch = next(iter(loader))
```
"""
