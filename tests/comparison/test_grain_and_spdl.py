"""What docs/explanation/comparison.md says of grain and SPDL, tried on them: pip install grain array_record spdl."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BATCH, SAMPLES = 8, 40


def grain_iterators(num_replicas: int) -> list[Iterator[Any]]:
    grain = pytest.importorskip("grain")
    from grain.experimental import ElasticIterator

    shards = [grain.sharding.ShardOptions(shard_index=i, shard_count=num_replicas) for i in range(num_replicas)]
    return [iter(ElasticIterator(grain.MapDataset.range(SAMPLES).shuffle(seed=3), BATCH, one)) for one in shards]


def global_batch(iterators: list[Iterator[Any]]) -> list[int]:
    return sorted(np.concatenate([np.ravel(next(one)) for one in iterators]).tolist())


def test_grain_s_elastic_iterator_gives_the_same_global_batches_and_resumes_on_other_replicas() -> None:
    one, two = grain_iterators(1), grain_iterators(2)
    expected = [global_batch(one) for _ in range(4)]
    assert [global_batch(two) for _ in range(4)] == expected
    first = grain_iterators(1)
    for _ in range(2):
        global_batch(first)
    state = first[0].get_state()  # type: ignore[attr-defined]
    resumed = grain_iterators(2)
    for iterator in resumed:
        iterator.set_state(state)  # type: ignore[attr-defined]
    assert global_batch(resumed) == expected[2]


def test_grain_finds_a_changed_record_and_names_it_by_its_byte(tmp_path: Path) -> None:
    records = pytest.importorskip("array_record.python.array_record_data_source")
    from array_record.python.array_record_module import ArrayRecordWriter

    path = tmp_path / "x.array_record"
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    random = np.random.default_rng(0)
    contents = [random.bytes(3000) for _ in range(10)]
    for content in contents:
        writer.write(content)
    writer.close()
    data = bytearray(path.read_bytes())
    at = data.index(contents[7]) + 1000
    data[at] ^= 255
    path.write_bytes(data)
    source = records.ArrayRecordDataSource([str(path)])
    assert source[6] == contents[6]
    with pytest.raises(RuntimeError, match=r"chunk data hash mismatch .* at byte \d+"):
        source[7]


def test_spdl_deals_one_order_to_any_number_of_replicas_and_keeps_no_position() -> None:
    sampler = pytest.importorskip("spdl.source").DistributedRandomSampler
    from spdl.pipeline import Pipeline

    def batches(num_replicas: int) -> list[list[int]]:
        local = BATCH // num_replicas
        orders = [list(map(int, sampler(SAMPLES, rank=i, world_size=num_replicas))) for i in range(num_replicas)]
        starts = range(0, SAMPLES // num_replicas, local)
        return [sorted(i for order in orders for i in order[start : start + local]) for start in starts]

    assert batches(1) == batches(2)
    for holder in (sampler, Pipeline):
        assert not {"state_dict", "load_state_dict", "get_state", "set_state"} & set(dir(holder))
