"""Totals that threads add up in any order are those of one loop."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from alexkit.prep.build.set_totals import SetTotals
from alexkit.prep.build.shard_job import ShardResult
from alexkit.prep.format.manifest import Patched, Quarantined
from alexkit.prep.format.originals import Originals
from alexkit.prep.format.sample_index import SampleRows
from alexkit.prep.format.shard import ShardEntry, WrittenShard
from alexkit.prep.format.stats import PixelSums

NUM_SHARDS, SIZE_PX = 60, 40


def result(number: int) -> ShardResult:
    rng = np.random.default_rng(number)
    sums = PixelSums.zero(SIZE_PX)
    for _ in range(3):
        sums += PixelSums.of(rng.integers(0, 256, (SIZE_PX, SIZE_PX, 3), np.uint8))
    none = np.empty(0, np.int64)
    rows = SampleRows(
        starts_N=none, sizes_N=none.astype(np.uint32), labels_N=none.astype(np.int32),
        checksums_N=none.astype(np.uint32), keys=[],
    )  # fmt: skip
    entry = ShardEntry(
        name=f"{number}.tar", num_samples=3, num_bytes=number, sha256=f"{number}", index_sha256=f"{number}"
    )
    return ShardResult(
        written=None if number % 7 == 3 else WrittenShard(entry=entry, rows=rows, source_lines=b""),
        sums=sums,
        quarantined=(Quarantined(source=f"{rng.integers(1000)}-{number}", reason="truncated"),),
        patched=(Patched(source=f"{rng.integers(1000)}-{number}", decoded_rows=0.5),) if number % 5 == 0 else (),
        warnings={f"warning {number % 3}": number},
        num_enlarged=number,
        originals=Originals(shorter_px={"256": number + 1}),
    )


def test_threads_add_what_a_loop_adds_in_any_order() -> None:
    results = [result(number) for number in range(NUM_SHARDS)]
    totals, numbers = SetTotals(SIZE_PX), random.Random(0).sample(range(NUM_SHARDS), NUM_SHARDS)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: totals.add(number, results[number]), numbers))
    expected = sum((one.sums for one in results), PixelSums.zero(SIZE_PX))
    assert totals.sums.num_images == expected.num_images == 3 * NUM_SHARDS
    assert (totals.sums.image_HWC == expected.image_HWC).all() and (totals.sums.outer_CC == expected.outer_CC).all()
    assert totals.shards == tuple(one.written.entry for one in results if one.written)
    assert totals.quarantined == tuple(sorted((x for one in results for x in one.quarantined), key=lambda x: x.source))
    assert totals.patched == tuple(sorted((x for one in results for x in one.patched), key=lambda x: x.source))
    assert list(totals.warnings.items()) == [(f"warning {i}", sum(range(i, NUM_SHARDS, 3))) for i in range(3)]
    assert totals.num_enlarged == sum(range(NUM_SHARDS))
    assert totals.originals.shorter_px == {"256": sum(range(NUM_SHARDS)) + NUM_SHARDS}
