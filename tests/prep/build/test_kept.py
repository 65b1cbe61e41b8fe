"""Laws of what is stored with images on request: it is read back, covered by hashes, and made again by repair."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexkit.errors import InputError
from alexkit.prep import PixelOptions, ShardSet
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.build.integrity.repair import repair_set
from alexkit.prep.build.integrity.verify import verify_set
from alexkit.prep.sources import SourceOptions, open_source


def build(source: Path, out: Path, keep: tuple[str, ...], **options: Any) -> Path:
    found = open_source(source, SourceOptions(keep=keep))
    how = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, **options)
    build_shards(found, out, how, on_split=lambda split: lambda done, num_bad: None)
    return out / "train"


@pytest.fixture
def listed(draw_source: Callable[..., Path]) -> Path:
    """A list of images with captions, one of them missing, and boxes."""
    folder = draw_source(splits=())
    rows = [
        {"path": str(path.relative_to(folder)), "label": path.parent.name, "caption": path.stem, "boxes": [[i, 2.5]]}
        for i, path in enumerate(sorted(folder.rglob("*.JPEG")))
    ]
    del rows[3]["caption"]
    (folder / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "list.jsonl"


def members(folder: Path) -> dict[str, dict[str, bytes]]:
    """Content by key and extension of all members, in order."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                key, _, ext = info.name.partition(".")
                found.setdefault(key, {})[ext] = tar.extractfile(info).read()  # type: ignore[union-attr]
    return found


def test_columns_are_stored_as_members_and_nothing_else_changes(listed: Path, tmp_path: Path) -> None:
    plain = members(build(listed, tmp_path / "plain", (), num_workers=1))
    kept = members(build(listed, tmp_path / "kept", ("caption", "boxes", "source"), num_workers=2))
    assert [(one["jpg"], one["cls"]) for one in plain.values()] == [(one["jpg"], one["cls"]) for one in kept.values()]
    for key, one in kept.items():
        stem = key[9:]
        if "caption.txt" in one:
            assert one["caption.txt"].decode() == stem
        assert json.loads(one["boxes.json"])[0][1] == 2.5
        assert one["source.txt"].decode() == f"{stem.partition('_')[0]}/{stem}.JPEG"
    assert sum("caption.txt" not in one for one in kept.values()) == 1


def test_the_file_of_a_sample_is_found_without_asking_for_it_before(listed: Path, tmp_path: Path) -> None:
    """In the set, by its key: the same text that `--keep source` stores with each image."""
    folder = build(listed, tmp_path / "out", ("source",), num_workers=2)
    shard_set = ShardSet.open(folder)
    found = members(folder)
    assert {key: shard_set.source_of(key) for key in found} == {
        key: one["source.txt"].decode() for key, one in found.items()
    }
    rows = [json.loads(line) for line in (folder / "sources.jsonl").read_text().splitlines()]
    assert [row["key"] for row in rows] == list(found)
    with pytest.raises(InputError, match=r"sources\.jsonl: no sample has the key '00000000'"):
        shard_set.source_of("00000000")


def test_kept_members_are_the_same_bytes_for_any_number_of_workers(
    listed: Path, tmp_path: Path, tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    trees = [tree_hashes(build(listed, tmp_path / str(n), ("caption",), num_workers=n)) for n in (1, 2)]
    assert trees[0] == trees[1]


def test_what_is_kept_is_part_of_the_source(listed: Path, tmp_path: Path) -> None:
    build(listed, tmp_path / "out", ("caption",), num_workers=1)
    with pytest.raises(InputError, match="built differently"):
        build(listed, tmp_path / "out", ("boxes",), num_workers=1)


def test_damage_to_kept_members_is_found_and_repaired(listed: Path, tmp_path: Path) -> None:
    folder = build(listed, tmp_path / "out", ("caption", "boxes"), num_workers=1)
    assert verify_set(folder, depth="decode", num_workers=1) == []
    name = ShardSet.open(folder).manifest.shards[0].name
    good = (folder / name).read_bytes()
    place = good.index(b"[[")  # of the first sample's boxes
    with (folder / name).open("r+b") as file:
        file.seek(place)
        file.write(b"{{")
    (finding,) = verify_set(folder, depth="hashes", num_workers=1)
    assert finding.file == name  # by its hash: checksums in index.bin are of images
    source = open_source(listed, SourceOptions(keep=("caption", "boxes")))
    repair_set(folder, source, [finding], num_workers=1, on_progress=lambda done: None)
    assert (folder / name).read_bytes() == good


def test_an_extension_that_is_taken_is_refused(listed: Path, tmp_path: Path) -> None:
    for path in listed.parent.glob("*/*.JPEG"):
        path.with_suffix(".png").write_bytes(b"mask")
    with pytest.raises(InputError, match="two members have the extension 'png'; leave it out of --keep"):
        found = open_source(listed.parent, SourceOptions(keep=("png",)))
        how = BuildOptions(pixels=PixelOptions(size_px=32, format="png"), num_workers=1, max_bad=100)
        build_shards(found, tmp_path / "out", how, on_split=lambda split: lambda done, num_bad: None)
