"""`_info.json` beside the splits, with which timm opens the shard sets of a folder by the names of their splits."""

import json
from collections.abc import Sequence
from pathlib import Path

from .files import whole_file
from .shard_set import ShardSet

TIMM_INFO_NAME = "_info.json"


def write_timm_info(out: Path, shard_sets: Sequence[ShardSet]) -> None:
    """Write `out/_info.json` for the shard sets in folders of `out`, unless it is up to date already.

    timm's `create_dataset("wds/NAME", root=OUT, split="train")` reads it: tars and numbers of samples of each split.
    """
    splits = {
        one.manifest.split: {
            "name": one.manifest.split,
            "filenames": [f"{one.folder.name}/{shard.name}" for shard in one.manifest.shards],
            "shard_lengths": [shard.num_samples for shard in one.manifest.shards],
            "num_samples": one.manifest.num_samples,
        }
        for one in shard_sets
    }
    content = json.dumps({"splits": splits}, indent=1, sort_keys=True).encode() + b"\n"
    path = out / TIMM_INFO_NAME
    if not path.exists() or path.read_bytes() != content:
        with whole_file(path) as file:
            file.write(content)
