"""Laws of `index.bin`: what was written is read back, the bytes are the documented ones, any other byte is refused."""

import hashlib
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alexkit.prep import Manifest, ShardSet
from alexkit.prep.format.sample_index import SampleIndex, SampleRows, image_checksum, write_sample_index

DrawShards = Callable[..., Path]


def rows_of(*keys: str, first: int = 0) -> SampleRows:
    numbers = np.arange(first, first + len(keys))
    return SampleRows(
        starts_N=512 + 2048 * numbers,
        sizes_N=(100 + numbers).astype(np.uint32),
        labels_N=(numbers % 3).astype(np.int32),
        checksums_N=(0xDEADBEE0 + numbers).astype(np.uint32),
        keys=keys,
    )


def test_the_bytes_are_those_of_the_documented_layout(tmp_path: Path) -> None:
    digest = write_sample_index(tmp_path, [rows_of("a", "bé"), rows_of(), rows_of("c", first=2)])
    body = b"".join(
        (
            struct.pack("<4q", 0, 2, 2, 3),
            struct.pack("<3q", 512, 2560, 4608),
            struct.pack("<3I4x", 100, 101, 102),
            struct.pack("<3i4x", 0, 1, 2),
            struct.pack("<3I4x", 0xDEADBEE0, 0xDEADBEE1, 0xDEADBEE2),
            struct.pack("<4q", 0, 1, 4, 5),
            "abéc".encode() + bytes(3),
        )
    )
    content = (tmp_path / "index.bin").read_bytes()
    header = b"alexkit\0" + struct.pack("<IIQQQ", 1, image_checksum(body), 3, 3, 5) + bytes(24)
    assert content == header + body
    assert digest == hashlib.sha256(content).hexdigest()
    assert digest == "a19b265766de1fed2cf82605e79322a8d78774e85984c01e253bbea49a1b027d"
    assert [path.name for path in tmp_path.iterdir()] == ["index.bin"]


def test_the_checksum_is_crc32c() -> None:
    assert image_checksum(b"123456789") == 0xE3069283  # the check value of RFC 3720's polynomial
    assert image_checksum(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283


def test_samples_are_found_by_number(tmp_path: Path) -> None:
    write_sample_index(tmp_path, [rows_of("a", "bé"), rows_of(), rows_of("c", first=2)])
    index = SampleIndex.open(tmp_path)
    assert len(index) == 3 and [index.key(i) for i in range(3)] == ["a", "bé", "c"]
    assert [index.shard_of(i) for i in range(3)] == [0, 0, 2]
    assert index.starts_N.tolist() == [512, 2560, 4608] and index.sizes_N.tolist() == [100, 101, 102]
    assert index.labels_N.tolist() == [0, 1, 2] and index.first_S.tolist() == [0, 2, 2, 3]
    assert index.checksums_N is not None and index.checksums_N.tolist() == [0xDEADBEE0, 0xDEADBEE1, 0xDEADBEE2]
    assert not index.starts_N.flags.writeable


def test_every_changed_bit_and_every_length_is_refused(tmp_path: Path) -> None:
    write_sample_index(tmp_path, [rows_of("a", "b"), rows_of("c", first=2)])
    path = tmp_path / "index.bin"
    good = path.read_bytes()
    zeros = range(40, 64)  # of the header; nothing reads them
    for position in set(range(len(good))) - set(zeros):
        for bit in range(8):
            content = bytearray(good)
            content[position] ^= 1 << bit
            path.write_bytes(content)
            with pytest.raises(ValueError, match=r"index\.bin: "):
                SampleIndex.open(tmp_path)
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(ValueError, match=r"index\.bin: "):
            SampleIndex.open(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        (0, 9, "first samples do not grow"),
        (5, 9, "key offsets do not grow"),
        (1, -1, "negative offset"),
        (3, -2, "label is below -1"),
    ],
)
def test_impossible_numbers_are_refused_though_the_checksum_fits(
    tmp_path: Path, column: int, value: int, words: str
) -> None:
    write_sample_index(tmp_path, [rows_of("a", "b"), rows_of("c", first=2)])
    path = tmp_path / "index.bin"
    content = bytearray(path.read_bytes())
    starts = [64, 88, 112, 128, 144, 160]  # of the columns
    second = starts[column] + (4 if column in (2, 3, 4) else 8)
    struct.pack_into("<i" if column in (2, 3, 4) else "<q", content, second, value)
    struct.pack_into("<I", content, 12, image_checksum(bytes(content[64:])))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        SampleIndex.open(tmp_path)


def test_a_set_is_indexed_as_its_shards_are(draw_shards: DrawShards) -> None:
    shard_set = ShardSet.open(draw_shards())
    index = shard_set.sample_index()
    assert len(index) == shard_set.manifest.num_samples == 40
    for i in range(len(index)):
        shard = index.shard_of(i)
        content = (shard_set.folder / shard_set.manifest.shards[shard].name).read_bytes()
        image = content[index.starts_N[i] : index.starts_N[i] + index.sizes_N[i]]
        assert index.checksums_N is not None and image_checksum(image) == index.checksums_N[i]
        rows = shard_set.index(shard)
        row = i - index.first_S[shard]
        assert index.key(i) == rows.keys[row] == f"sample-{i:04d}" and index.labels_N[i] == i % 4
        assert (index.starts_N[i], index.sizes_N[i]) == (rows.image_offsets[row], rows.image_sizes[row])


def test_a_set_without_the_file_has_the_same_index_but_checksums(draw_shards: DrawShards) -> None:
    shard_set = ShardSet.open(draw_shards())
    old = ShardSet(folder=shard_set.folder, manifest=without_index(shard_set.manifest))
    one, other = shard_set.sample_index(), old.sample_index()
    assert other.checksums_N is None and [one.key(i) for i in range(40)] == [other.key(i) for i in range(40)]
    for name in ("first_S", "starts_N", "sizes_N", "labels_N", "key_starts", "key_bytes"):
        assert (getattr(one, name) == getattr(other, name)).all()


def without_index(manifest: Manifest) -> Manifest:
    return replace(manifest, index_sha256="")


def test_an_index_that_is_missing_or_of_another_set_is_refused(draw_shards: DrawShards, tmp_path: Path) -> None:
    folder = shutil.copytree(draw_shards(), tmp_path / "set")
    (folder / "index.bin").unlink()
    with pytest.raises(ValueError, match=r"index\.bin: missing, but .*manifest\.json lists it; run 'alexprep repair"):
        ShardSet.open(folder).sample_index()
    shutil.copy(draw_shards(num_samples=24) / "index.bin", folder)
    with pytest.raises(ValueError, match=r"index\.bin: the numbers of samples in its shards are not those"):
        ShardSet.open(folder).sample_index()
    shutil.copy(draw_shards(format="raw") / "index.bin", folder)
    with pytest.raises(ValueError, match=r"index\.bin: sample 'sample-.*' ends at byte"):
        ShardSet.open(folder).sample_index()


def test_opening_a_million_samples_takes_no_private_memory(tmp_path: Path) -> None:
    """56 MB of index are mapped and checked; what is private stays far below them."""
    keys = [f"{i:08d}" for i in range(10_000)]
    one = SampleRows(
        starts_N=np.arange(10_000) * 512,
        sizes_N=np.full(10_000, 7, np.uint32),
        labels_N=np.zeros(10_000, np.int32),
        checksums_N=np.zeros(10_000, np.uint32),
        keys=keys,
    )
    write_sample_index(tmp_path, [one] * 100)
    script = f"""
import json
from pathlib import Path
from alexkit.prep.format.sample_index import SampleIndex
def private():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
before = private()
index = SampleIndex.open(Path({str(tmp_path)!r}))
print(json.dumps([len(index), index.key(999_999), private() - before]))
"""
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    length, key, private_kb = json.loads(run.stdout)
    assert length == 1_000_000 and key == "00009999"
    assert private_kb < 30_000
