"""How far one split of a run has come: which shards are finished, their sums and their quarantined inputs."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ..format.files import whole_file
from ..format.manifest import Quarantined
from ..format.shard import ShardEntry
from ..format.stats import PixelSums
from .shard_job import ShardResult


@dataclass(kw_only=True, slots=True)
class SplitState:
    """The finished shards of one split, by number; `sums` and `num_patched` cover exactly them."""

    sums: PixelSums
    entries: dict[int, ShardEntry | None] = field(default_factory=dict)
    quarantined: dict[int, tuple[Quarantined, ...]] = field(default_factory=dict)
    num_patched: int = 0

    @property
    def num_bad(self) -> int:
        return sum(len(bad) for bad in self.quarantined.values())

    def add(self, number: int, result: ShardResult) -> None:
        self.sums += result.sums
        self.entries[number] = result.entry
        self.quarantined[number] = result.quarantined
        self.num_patched += result.num_patched

    def save(self, path: Path) -> None:
        finished = {
            number: {"entry": entry and asdict(entry), "quarantined": [asdict(bad) for bad in self.quarantined[number]]}
            for number, entry in self.entries.items()
        }
        with whole_file(path) as file:
            np.savez(
                file,
                finished=np.frombuffer(json.dumps(finished).encode(), np.uint8),
                num_patched=np.int64(self.num_patched),
                num_images=np.int64(self.sums.num_images),
                image_HWC=self.sums.image_HWC,
                outer_CC=self.sums.outer_CC,
            )

    @classmethod
    def load(cls, path: Path) -> "SplitState":
        with np.load(path, allow_pickle=False) as data:
            finished = json.loads(data["finished"].tobytes())
            sums = PixelSums(num_images=int(data["num_images"]), image_HWC=data["image_HWC"], outer_CC=data["outer_CC"])
            num_patched = int(data["num_patched"])
        state = cls(sums=sums, num_patched=num_patched)
        for number, shard in finished.items():
            state.entries[int(number)] = ShardEntry(**shard["entry"]) if shard["entry"] else None
            state.quarantined[int(number)] = tuple(Quarantined(**bad) for bad in shard["quarantined"])
        return state
