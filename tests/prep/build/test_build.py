"""Laws of building: every good image once, the same bytes every way, nothing half-done, nothing in silence."""

import fcntl
import io
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.prep import ShardSet
from alexkit.prep.build.build import BuildOptions, BuiltSplit, build_shards
from alexkit.prep.build.integrity.verify import verify_set
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.format.stats import PixelSums
from alexkit.prep.images.prepare import prepare_image
from alexkit.prep.images.stored import decode_stored
from alexkit.prep.sources.recognize import open_source

from ..conftest import drawn_jpeg

SMALL = PixelOptions(size_px=32)


def build(source: Path, out: Path, **options: object) -> list[BuiltSplit]:
    chosen = BuildOptions(**({"pixels": SMALL, "images_per_shard": 4} | options))  # type: ignore[arg-type]
    return build_shards(open_source(source), out, chosen, on_split=lambda split: lambda done, num_bad: None)


def stored(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Image bytes and label of every stored sample by key."""
    shard_set = ShardSet.open(folder)
    samples = {}
    for number, shard in enumerate(shard_set.manifest.shards):
        content = (folder / shard.name).read_bytes()
        index = shard_set.index(number)
        for i, key in enumerate(index.keys):
            image = content[index.image_offsets[i] :][: index.image_sizes[i]]
            label = content[index.label_offsets[i] :][: index.label_sizes[i]]
            samples[key] = image, int(label)
    return samples


def test_every_image_is_stored_once_with_its_label(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = draw_source()
    train, val = build(source, tmp_path / "out")
    assert [split.shard_set.manifest.split for split in (train, val)] == ["train", "val"]
    for split, built in zip(open_source(source).splits, (train, val), strict=True):
        samples = stored(built.shard_set.folder)
        assert len(samples) == len(split.images) == built.shard_set.manifest.num_samples
        by_stem = {key.split("_", 1)[1]: sample for key, sample in samples.items()}
        for image in split.images:
            stem = image.name.rpartition("/")[2].removesuffix(".JPEG")
            assert by_stem[stem] == (prepare_image(image.read(), SMALL)[1], image.label)


def test_nothing_but_final_files_is_left(draw_source, tmp_path: Path, tree_hashes) -> None:  # type: ignore[no-untyped-def]
    build(draw_source(splits=("train",)), tmp_path / "out")
    shards = [f"train/train-0000{i}.{ext}" for i in range(4) for ext in ("tar", "idx")]
    others = ["index.bin", "manifest.json", "quarantine.jsonl", "sources.jsonl", "statistics.npz"]
    others = [f"train/{name}" for name in others]
    assert sorted(tree_hashes(tmp_path / "out")) == sorted([*shards, *others, "README.md", "_info.json"])


def test_timm_is_told_the_tars_and_samples_of_each_split(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """In the fields that the WebDataset reader of timm 1 takes from `_info.json`."""
    build(draw_source(), tmp_path / "out")
    info = json.loads((tmp_path / "out/_info.json").read_text())
    assert sorted(info["splits"]) == ["train", "val"]
    for name, split in info["splits"].items():
        assert split["name"] == name and split["num_samples"] == sum(split["shard_lengths"]) == 15
        assert split["shard_lengths"] == [4, 4, 4, 3]
        assert [(tmp_path / "out" / file).is_file() for file in split["filenames"]] == [True] * 4


def test_the_bytes_do_not_depend_on_workers_or_listing(draw_source, tmp_path: Path, tree_hashes) -> None:  # type: ignore[no-untyped-def]
    source = draw_source()
    # The same images created in another order, so that the file system lists them in another order.
    other = tmp_path / "other"
    for path in sorted(source.rglob("*.JPEG"), key=lambda path: path.read_bytes()):
        copy = other / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    trees = []
    for i, (folder, num_workers) in enumerate([(source, 1), (source, 2), (other, 3)]):
        build(folder, tmp_path / f"out{i}", num_workers=num_workers)
        trees.append(tree_hashes(tmp_path / f"out{i}"))
    assert trees[0] == trees[1] == trees[2]


@pytest.mark.parametrize("format", ["png", "raw"])
def test_fused_statistics_of_lossless_formats_are_those_of_the_stored_pixels(
    draw_source: Callable[..., Path], tmp_path: Path, format: str
) -> None:
    pixels = PixelOptions(size_px=32, format=format)
    (built,) = build(draw_source(splits=("train",)), tmp_path / "out", pixels=pixels)
    again = PixelSums.zero(32)
    for image, _ in stored(tmp_path / "out/train").values():
        again += PixelSums.of(decode_stored(image, pixels))
    fused = built.shard_set.sums()
    assert fused.num_images == again.num_images == 15
    assert (fused.image_HWC == again.image_HWC).all() and (fused.outer_CC == again.outer_CC).all()


def test_whole_images_have_the_statistics_of_their_central_squares(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = draw_source(splits=("train",))
    squares, whole = (
        build(source, tmp_path / fit, pixels=PixelOptions(size_px=32, fit=fit, format="png"))[0].shard_set
        for fit in ("crop", "shorter")
    )
    assert len(stored(tmp_path / "shorter/train")) == 15
    # Rescaled alike and cropped at the same pixels: at most a rounding of a level apart.
    assert np.abs(np.array(whole.manifest.color.mean_C) - squares.manifest.color.mean_C).max() < 0.2


def test_an_input_that_needs_too_much_memory_is_quarantined(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = draw_source(splits=("train",), images_per_class=1)
    small = io.BytesIO()
    Image.new("RGBA", (94, 94)).save(small, "PNG")
    # Its header alone promises more, so nothing is decoded.
    huge = small.getvalue()[:16] + struct.pack(">II", 9400, 9400) + small.getvalue()[24:]
    (source / "train/n00000000/huge.png").write_bytes(huge)
    (built,) = build(source, tmp_path / "out")
    assert built.shard_set.manifest.num_samples == 3
    (bad,) = built.shard_set.manifest.quarantined
    assert bad.source == "n00000000/huge.png"
    assert bad.reason.startswith(
        "header promises 9400 x 9400 pixels, more than the 41297762 that 1 GiB of memory allows"
    )


def test_a_set_can_be_read_whatever_the_names_of_its_bad_images(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A name that is not UTF-8 once made the whole manifest unreadable."""
    source = draw_source(splits=())
    for name, content in ((b"bad\xff.jpg", b"no image"), (b"good\xff.JPEG", drawn_jpeg(99))):
        Path(os.fsdecode(os.fsencode(source) + b"/n00000000/" + name)).write_bytes(content)
    build(source, tmp_path / "out")
    manifest = ShardSet.open(tmp_path / "out/train").manifest
    assert [bad.source for bad in manifest.quarantined] == ["n00000000/bad\\udcff.jpg"]
    assert manifest.num_samples == 16 and verify_set(tmp_path / "out/train") == []


def test_bad_images_are_quarantined_and_the_rest_is_kept(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = draw_source(splits=("train",))
    good = (source / "train/n00000000/n00000000_0.JPEG").read_bytes()
    bad = {"cut.JPEG": good[: len(good) // 2], "empty.JPEG": b"", "page.JPEG": b"<html>"}
    for name, content in bad.items():
        (source / "train/n00000001" / name).write_bytes(content)
    (built,) = build(source, tmp_path / "out", num_workers=2)
    manifest = built.shard_set.manifest
    assert manifest.num_samples == 15 and len(stored(tmp_path / "out/train")) == 15
    assert [entry.source for entry in manifest.quarantined] == [f"n00000001/{name}" for name in sorted(bad)]
    lines = (tmp_path / "out/train/quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["reason"] for line in lines] == [entry.reason for entry in manifest.quarantined]
    assert built.shard_set.sums().num_images == 15


def test_lenient_keeps_what_the_codec_patched(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = draw_source(splits=("train",))
    good = (source / "train/n00000000/n00000000_0.JPEG").read_bytes()
    (source / "train/n00000000/cut.JPEG").write_bytes(good[: -len(good) // 4])
    (strict,) = build(source, tmp_path / "strict")
    (lenient,) = build(source, tmp_path / "lenient", pixels=PixelOptions(size_px=32, lenient=True))
    assert strict.shard_set.manifest.num_samples == 15 and lenient.shard_set.manifest.num_samples == 16
    assert strict.shard_set.manifest.num_patched == 0 and lenient.shard_set.manifest.num_patched == 1


def test_too_many_bad_images_stop_the_run_and_are_named(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = draw_source(splits=("train",))
    for i in range(3):
        (source / f"train/n00000000/bad{i}.JPEG").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"3 bad inputs of 18, at most 2 allowed, e\.g\. n00000000/bad\d"):
        build(source, tmp_path / "out", images_per_shard=100, max_bad=2)
    (built,) = build(source, tmp_path / "out", images_per_shard=100, max_bad=3)
    assert len(built.shard_set.manifest.quarantined) == 3


def test_a_shard_of_bad_images_only_is_left_out(tmp_path: Path, draw_source) -> None:  # type: ignore[no-untyped-def]
    source = draw_source(splits=("train",), num_classes=1, images_per_class=2)
    (source / "train/n00000000/x.JPEG").write_bytes(b"no image")
    (built,) = build(source, tmp_path / "out", images_per_shard=1)
    assert len(built.shard_set.manifest.shards) == 2 and len(list((tmp_path / "out/train").glob("*.tar"))) == 2


def test_no_good_image_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "source/a").mkdir(parents=True)
    (tmp_path / "source/a/x.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match="none of 1 inputs is a usable image"):
        build(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out/train/manifest.json").exists()


def test_a_complete_set_is_left_alone(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = draw_source()
    build(source, tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert all(split.already_complete for split in build(source, tmp_path / "out", num_workers=1, max_bad=7))
    assert all(path.stat().st_mtime_ns == before for path, before in times.items() if path.is_file())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "--seed was 0, now 1"),
        ({"images_per_shard": 5}, "--images-per-shard was 4, now 5"),
        ({"pixels": PixelOptions(size_px=40)}, "--size was 32, now 40"),
        ({"pixels": PixelOptions(size_px=32, quality=90)}, "--quality was 95, now 90"),
    ],
)
def test_a_complete_set_of_other_options_is_refused(
    draw_source: Callable[..., Path], tmp_path: Path, change: dict[str, object], words: str
) -> None:
    source = draw_source(splits=("train",))
    build(source, tmp_path / "out")
    with pytest.raises(ValueError, match=rf"complete, but built differently .*{words}"):
        build(source, tmp_path / "out", **change)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "_info.json", "train"]


def test_a_complete_set_of_another_source_is_refused(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = draw_source(splits=("train",))
    build(source, tmp_path / "out")
    (source / "train/n00000000/new.JPEG").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"complete, but built differently .*SOURCE has different files"):
        build(source, tmp_path / "out")


def test_files_of_others_are_not_overwritten(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "out/train").mkdir(parents=True)
    (tmp_path / "out/train/thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match="neither a shard set nor an unfinished run"):
        build(draw_source(splits=("train",)), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["train", "thesis.tex"]


def test_what_a_killed_run_left_half_written_goes_and_files_of_others_stay(draw_source, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source, out = draw_source(splits=("train",)), tmp_path / "out"
    build(source, out)
    (out / ".unfinished").mkdir()  # as when a run was killed while it wrote the card
    left = [
        out / "README.md.0123456789ab.partial",
        out / "_info.json.ba9876543210.partial",
        out / "train/manifest.json.0123456789ab.partial",
        out / "train/train-00000.tar.0-0123456789ab.partial",
    ]
    theirs = [out / "film.mkv.partial", out / "notes.partial"]
    for path in (*left, *theirs):
        path.write_bytes(b"half")
    being_written = out / "index.bin.cdefcdefcdef.partial"
    with being_written.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        build(source, out)
        assert [path for path in (*left, *theirs, being_written) if path.exists()] == [*theirs, being_written]
    assert not (out / ".unfinished").exists()


def test_a_finished_shard_that_was_taken_away_is_written_again(  # type: ignore[no-untyped-def]
    draw_source, tree_hashes, tmp_path: Path
) -> None:
    source = draw_source()
    build(source, tmp_path / "undisturbed")

    def interrupt(done: int, num_bad: int) -> None:
        if list((tmp_path / "out/.unfinished/train").glob("*.part")):
            raise KeyboardInterrupt

    options = BuildOptions(pixels=SMALL, images_per_shard=4, num_workers=1)
    with pytest.raises(KeyboardInterrupt):
        build_shards(open_source(source), tmp_path / "out", options, on_split=lambda split: interrupt)
    (tmp_path / "out" / "train" / "train-00000.tar").unlink()
    build(source, tmp_path / "out")
    assert tree_hashes(tmp_path / "out") == tree_hashes(tmp_path / "undisturbed")
