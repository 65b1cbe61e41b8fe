"""Laws of checking and repairing: no damage goes unseen, and what is made again is what was there."""

import errno
import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexkit.prep import Manifest
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.build.integrity.repair import repair_set
from alexkit.prep.build.integrity.verify import verify_set
from alexkit.prep.build.integrity.verify_shard import Finding, VerifyJob, verify_one_shard
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.format.shard import index_path, read_index
from alexkit.prep.sources.recognize import open_source
from alexkit.prep.workers.heartbeat import Heartbeat, new_state

NUM_FLIPS = 300
UNREADABLE = Path("/proc/self/mem")
"""Every read from its start fails with EIO, as from a damaged disk."""


@pytest.fixture
def built(tmp_path: Path, draw_source: Callable[..., Path]) -> tuple[Path, Path]:
    """A source with one bad input, and its shard set."""
    source = draw_source(splits=("train",), images_per_class=4)
    (source / "train/n00000001/bad.JPEG").write_bytes(b"no image")
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=5, num_workers=1)
    build_shards(open_source(source), tmp_path / "out", options, on_split=lambda split: lambda done, num_bad: None)
    return source, tmp_path / "out/train"


def repair(folder: Path, source: Path) -> list[str]:
    return repair_set(folder, open_source(source), verify_set(folder), num_workers=1, on_progress=lambda done: None)


def check_shard(folder: Path, number: int) -> list[Finding]:
    """The check of one shard by its hashes, here and now."""
    manifest = Manifest.read(folder)
    job = VerifyJob(
        folder=folder,
        entry=manifest.shards[number],
        first_sample=sum(entry.num_samples for entry in manifest.shards[:number]),
        pixels=manifest.pixels,
        num_classes=len(manifest.classes),
        labels_are_indices=True,
        decode=False,
    )
    return verify_one_shard(job, Heartbeat(new_state(multiprocessing.get_context())), {})


@pytest.mark.parametrize("depth", ["quick", "hashes", "decode"])
def test_a_good_set_has_no_findings(built: tuple[Path, Path], depth: str) -> None:
    assert verify_set(built[1], depth=depth) == []


def test_every_bit_flip_is_found_and_placed_in_its_sample(built: tuple[Path, Path]) -> None:
    folder = built[1]
    rng = np.random.default_rng(0)
    shard = folder / "train-00001.tar"
    good = shard.read_bytes()
    index = read_index(index_path(shard), shard_bytes=len(good))
    for _ in range(NUM_FLIPS):
        position = int(rng.integers(len(good)))
        content = bytearray(good)
        content[position] ^= 1 << int(rng.integers(8))
        shard.write_bytes(content)
        (finding,) = check_shard(folder, 1)
        assert finding.file == shard.name
        end = int(index.label_offsets[-1]) + 512
        if finding.key is None:
            assert position >= end and finding.problem == "damaged end of the tar"
        else:
            i = index.keys.index(finding.key)
            assert index.image_offsets[i] - 512 <= position
            # What is no longer zero in the end of the tar may be taken for one more member of the last sample.
            assert position < index.label_offsets[i] + 512 or (i == len(index) - 1 and position >= end)


def test_every_damaged_sample_is_named_and_no_other(built: tuple[Path, Path]) -> None:
    shard = built[1] / "train-00001.tar"
    content = bytearray(shard.read_bytes())
    index = read_index(index_path(shard), shard_bytes=len(content))
    wrong = {}
    for i, offset, words in (
        (0, int(index.image_offsets[0]) + 200, "its image changed since it was written"),
        (2, int(index.label_offsets[2]), "but it was written as"),
        (3, int(index.label_offsets[3]) - 300, "damaged tar header"),
    ):
        content[offset] ^= 1
        wrong[index.keys[i]] = words
    shard.write_bytes(content)
    findings = check_shard(built[1], 1)
    assert [finding.key for finding in findings] == list(wrong)
    assert all(wrong[str(finding.key)] in finding.problem for finding in findings)


def test_every_truncation_is_found_without_reading(built: tuple[Path, Path]) -> None:
    shard = built[1] / "train-00000.tar"
    good = shard.read_bytes()
    for length in range(0, len(good), 512):
        shard.write_bytes(good[:length])
        assert verify_set(built[1], depth="quick") == [
            Finding(file=shard.name, problem=f"{length} bytes, expected {len(good)}")
        ]


@pytest.mark.parametrize(
    "name", ["train-00001.idx", "statistics.npz", "index.bin", "sources.jsonl", "quarantine.jsonl", "manifest.json"]
)
def test_every_changed_byte_of_a_small_file_is_found(built: tuple[Path, Path], name: str) -> None:
    path = built[1] / name
    good = path.read_bytes()
    # Letters of class names and the like, whose change leaves the file readable.
    for position in np.random.default_rng(1).integers(0, len(good), 8).tolist():
        content = bytearray(good)
        content[position] ^= 1
        path.write_bytes(content)
        try:
            findings = check_shard(built[1], 1) if name.endswith("idx") else verify_set(built[1])
        except ValueError as error:
            assert name == "manifest.json" and str(path) in str(error)
        else:
            assert name in [finding.file for finding in findings]


@pytest.mark.parametrize("name", ["train-00001.tar", "train-00001.idx", "statistics.npz", "index.bin"])
def test_a_missing_file_is_found_at_once(built: tuple[Path, Path], name: str) -> None:
    (built[1] / name).unlink()
    assert verify_set(built[1], depth="quick") == [Finding(file=name, problem="missing")]


@pytest.mark.skipif(not UNREADABLE.exists(), reason="has no file that cannot be read")
def test_what_the_disk_does_not_give_is_a_finding_and_the_check_goes_on(built: tuple[Path, Path]) -> None:
    source, folder = built
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    names = ["index.bin", "quarantine.jsonl", "sources.jsonl", "statistics.npz", "train-00001.idx"]
    for name in names:
        (folder / name).unlink()
        (folder / name).symlink_to(UNREADABLE)
    (folder / "train-00002.tar").unlink()  # found all the same
    found = {finding.file: finding.problem for finding in verify_set(folder)}
    assert found == dict.fromkeys(names, "cannot be read: Input/output error") | {"train-00002.tar": "missing"}
    assert repair(folder, source) == sorted(found)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    (folder / "train-00001.tar").unlink()
    (folder / "train-00001.tar").symlink_to(UNREADABLE)
    assert check_shard(folder, 1) == [Finding(file="train-00001.tar", problem="cannot be read: Input/output error")]
    (folder / "train-00001.idx").unlink()
    (folder / "train-00001.idx").symlink_to(UNREADABLE)
    with pytest.raises(OSError, match=r"train-00001\.idx"):
        read_index(folder / "train-00001.idx", shard_bytes=1)
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").symlink_to(UNREADABLE)
    with pytest.raises(OSError, match=r"manifest\.json"):
        verify_set(folder)


def test_a_stranger_among_the_shards_is_found(built: tuple[Path, Path]) -> None:
    shutil.copy(built[1] / "train-00000.tar", built[1] / "train-00009.tar")
    assert [finding.file for finding in verify_set(built[1], depth="quick")] == ["train-00009.tar"]


def test_only_damaged_files_are_made_again_to_the_same_bytes(
    built: tuple[Path, Path], tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    source, folder = built
    before = tree_hashes(folder)
    shard = folder / "train-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-700])
    (folder / "train-00002.idx").unlink()
    untouched = (folder / "train-00000.tar").stat().st_mtime_ns
    assert repair(folder, source) == ["train-00001.tar", "train-00002.idx"]
    assert tree_hashes(folder) == before
    assert (folder / "train-00000.tar").stat().st_mtime_ns == untouched


def test_statistics_and_quarantine_are_made_again(
    built: tuple[Path, Path], tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    source, folder = built
    before = tree_hashes(folder)
    (folder / "statistics.npz").write_bytes(b"")
    (folder / "quarantine.jsonl").write_text("nonsense\n")
    assert repair(folder, source) == ["quarantine.jsonl", "statistics.npz"]
    assert tree_hashes(folder) == before


def test_the_table_of_sources_is_made_again_from_the_source(
    built: tuple[Path, Path], tree_hashes: Callable[[Path], dict[str, str]], tmp_path: Path
) -> None:
    source, folder = built
    before = tree_hashes(folder)
    (folder / "sources.jsonl").unlink()
    # The same images below other paths are the source of the shards, but not of this table.
    (tmp_path / "moved").mkdir()
    shutil.copytree(source / "train", tmp_path / "moved/training")
    with pytest.raises(ValueError, match="the same images under other paths"):
        repair(folder, tmp_path / "moved")
    assert repair(folder, source) == ["sources.jsonl"]
    assert tree_hashes(folder) == before


def test_the_sample_index_is_made_again_from_the_shards(
    built: tuple[Path, Path], tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    source, folder = built
    before = tree_hashes(folder)
    (folder / "index.bin").unlink()
    assert repair(folder, source) == ["index.bin"]
    assert tree_hashes(folder) == before


def test_another_source_is_refused_and_nothing_is_touched(
    built: tuple[Path, Path], tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    source, folder = built
    (folder / "train-00001.tar").unlink()
    before = tree_hashes(folder)
    (source / "train/n00000000/more.JPEG").write_bytes(b"x")
    with pytest.raises(ValueError, match="is not the source of this train split"):
        repair(folder, source)
    assert tree_hashes(folder) == before


def test_a_source_of_equal_names_and_sizes_but_other_pixels_is_refused(built: tuple[Path, Path]) -> None:
    source, folder = built
    (folder / "train-00001.tar").unlink()
    for path in (source / "train").rglob("n*.JPEG"):
        content = bytearray(path.read_bytes())
        content[-40] ^= 255
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train-00001\.tar: rebuilt, it has SHA-256"):
        repair(folder, source)
    assert not (folder / "train-00001.tar").exists() and not (folder / ".unfinished").exists()


def test_a_damaged_manifest_cannot_be_repaired(built: tuple[Path, Path]) -> None:
    source, folder = built
    data = json.loads((folder / "manifest.json").read_text())
    data["classes"][0]["name"] = "changed"
    (folder / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"manifest\.json: changed since it was written"):
        repair(folder, source)


def test_a_repair_succeeds_where_the_disk_keeps_removed_files_until_they_are_closed(
    built: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS and FUSE (exFAT, NTFS) rename an open file that is removed, here the lock, so its folder is not empty."""
    source, folder = built
    path = folder / "train-00000.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    remove = shutil.rmtree

    def keep_the_folder(work: Path) -> None:
        remove(work)
        work.mkdir()
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(work))

    monkeypatch.setattr(shutil, "rmtree", keep_the_folder)
    repair(folder, source)
    assert path.read_bytes() == whole
    assert not (folder / ".unfinished").exists()
