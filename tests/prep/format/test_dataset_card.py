"""README.md beside the splits: Hugging Face `datasets` opens the folder by it, with the names of the classes."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from alexkit.prep import PixelOptions, ShardSet
from alexkit.prep.build.adopt import adopt_webdataset
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.dataset_card import dataset_card, pattern_of_tars, write_dataset_card
from alexkit.prep.format.manifest import ClassEntry
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.storage import StoreUrl

from ...conftest import draw_image, encode


def build(source: Path, out: Path, keep: tuple[str, ...] = (), format_: str = "png") -> list[ShardSet]:
    pixels = PixelOptions(size_px=32, format=format_)  # type: ignore[arg-type]
    options = BuildOptions(pixels=pixels, images_per_shard=8, num_workers=1)
    return [one.shard_set for one in build_shards(open_source(source, SourceOptions(keep=keep)), out, options)]


@pytest.mark.parametrize("keep", [(), ("source",)])
def test_datasets_opens_the_folder_of_the_sets_with_class_names(
    draw_source: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    sets = build(draw_source(), tmp_path / "out", keep)
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in found.items()} == {"train": 15, "validation": 15}
    for one, split in zip(sets, (found["train"], found["validation"]), strict=True):
        index = one.sample_index()
        assert split.features["cls"].names == [entry.name for entry in one.manifest.classes]
        assert list(split["cls"]) == index.labels_N.tolist()
        assert list(split["__key__"]) == [index.key(i) for i in range(15)]
        assert {image.size for image in split["png"]} == {(32, 32)}
        assert not keep or all(name.endswith(".JPEG") for name in split["source.txt"])


def test_images_without_labels_are_of_no_class(
    draw_source: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class 0 would be a class of train, for every reader that has one table for all splits."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    source = draw_source(splits=("train", "test"), images_per_class=2)
    for path in list((source / "test").rglob("*.JPEG")):
        path.rename(source / "test" / path.name)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    options = BuildOptions(pixels=PixelOptions(size_px=32), num_workers=1)
    built = build_shards(open_source(source, SourceOptions(unlabeled=True)), tmp_path / "out", options)
    assert [one.shard_set.sample_index().labels_N.tolist().count(-1) for one in built] == [0, 6]
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert len(found["train"].features["cls"].names) == 3
    assert list(found["test"]["cls"]) == [-1] * 6


def test_what_classes_are_called_survives_yaml(draw_source: Callable[..., Path], tmp_path: Path) -> None:
    """Two classes of one name, as ImageNet's cranes, quotes, other alphabets, a name that is no UTF-8, and lines."""
    (found, *_) = build(draw_source(), tmp_path / "out")
    names = ("crane", "crane", 'say "no": it\'s', "café 😀", "byte\udcff", "- on\nyes")
    classes = tuple(ClassEntry(index=i, id=f"n{i}", name=name) for i, name in enumerate(names))
    card = dataset_card([replace(found, manifest=replace(found.manifest, classes=classes))])
    (label,) = (
        one for one in yaml.safe_load(card.split("---\n")[1])["dataset_info"]["features"] if one["name"] == "cls"
    )
    expected = ["crane (n0)", "crane (n1)", *names[2:4], "byte?", names[5]]
    assert label["dtype"]["class_label"]["names"] == {str(i): name for i, name in enumerate(expected)}


@pytest.mark.parametrize(("format_", "dtype"), [("jpeg", "image"), ("png", "image"), ("raw", "binary")])
def test_members_have_the_types_in_which_datasets_reads_them(
    draw_source: Callable[..., Path], tmp_path: Path, format_: str, dtype: str
) -> None:
    source = draw_source(splits=("train",))
    for number, image in enumerate(sorted(source.glob("train/*/*.JPEG"))[:2]):
        image.with_suffix(".box.bin" if number else ".txt").write_bytes(b"some")
    sets = build(source, tmp_path / "out", ("txt", "box.bin"), format_)
    features = yaml.safe_load(dataset_card(sets).split("---\n")[1])["dataset_info"]["features"]
    found = {one["name"]: one["dtype"] for one in features if one["name"] != "cls"}
    image_ext = sets[0].manifest.pixels.image_ext
    assert found == {image_ext: dtype, "txt": "string", "box.bin": "binary", "__key__": "string", "__url__": "string"}


def test_what_lies_beside_the_splits_describes_all_of_them_however_many_runs_made_them(
    draw_source: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, out = draw_source(splits=("train", "val", "test")), tmp_path / "out"
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=8, num_workers=1)
    build_shards(open_source(source), tmp_path / "once", options)
    found = open_source(source).splits
    for split in found:
        build_shards(replace(open_source(source), splits=[split]), out, options)
    for name in ("README.md", "_info.json"):
        assert (out / name).read_bytes() == (tmp_path / "once" / name).read_bytes()
    (out / "val/val-00000.tar").unlink()
    build_shards(replace(open_source(source), splits=found[:1]), out, options)
    assert sorted(json.loads((out / "_info.json").read_text())["splits"]) == ["test", "train"]
    assert "val-00000.tar: missing" in caplog.text and "left out of README.md and _info.json" in caplog.text


def test_splits_that_differ_in_classes_or_pixels_are_described_as_they_are(
    draw_shards: Callable[..., Path],
) -> None:
    train = ShardSet.open(draw_shards())
    other = ShardSet.open(draw_shards(num_classes=3, split="val"))
    small = ShardSet.open(draw_shards(size_px=32, format="png", split="val"))
    assert "class_label" in dataset_card([train])
    assert "class_label" not in dataset_card([train, other]) and "class_label" not in dataset_card([train, small])
    assert "- stored as: jpeg, 64 px" in dataset_card([train, small])
    assert "- stored as: png, 32 px" in dataset_card([train, small])


@pytest.mark.parametrize("keep", [(), ("source",), ("txt",)])
def test_members_whose_names_are_not_known_are_not_left_out_of_the_types(
    draw_source: Callable[..., Path], tmp_path: Path, keep: tuple[str, ...]
) -> None:
    """Of a set in a store the shards are not here; in the last case only one image has a member beside it."""
    source = draw_source(splits=("train",))
    if keep == ("txt",):
        next(iter(sorted(source.glob("train/*/*.JPEG")))).with_suffix(".txt").write_bytes(b"some")
    (here,) = build(source, tmp_path / "out", keep)
    remote = dataset_card([replace(here, url=StoreUrl.parse("s3://bucket/out/train"))])
    assert "dataset_info" not in remote if keep else remote == dataset_card([here])


def adopted(folder: Path, members: dict[str, bytes], **options: Any) -> ShardSet:
    """The set of a tar without samples and of one with `members`, adopted."""
    folder.mkdir()
    for name, content in (("a-001.tar", {}), ("a-002.tar", members)):
        with tarfile.open(folder / name, "w") as tar:
            for member, data in content.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return ShardSet.open(adopt_webdataset(folder, folder.with_name("train"), **options))


@pytest.mark.parametrize(
    ("image", "label", "write", "has_names"),
    [
        ("jpg", "cls", lambda i: b"%d" % i, True),
        ("jpg", "cls", lambda i: [b"cat", b"dog"][i], False),
        ("jpg", "json", lambda i: b'{"label": %d}' % i, False),
        ("jpeg", "cls", lambda i: b"%d" % i, False),
    ],
)
def test_the_card_of_adopted_tars_invents_nothing(
    tmp_path: Path, image: str, label: str, write: Callable[[int], bytes], has_names: bool
) -> None:
    """`datasets` takes labels for numbers of classes, and knows members by their names."""
    pixels = PixelOptions(size_px=32)
    content = [encode(draw_image(i, i, 32), pixels) for i in range(2)]
    members = {f"{i}.{ext}": write(i) if ext == label else content[i] for i in range(2) for ext in (image, label)}
    card = dataset_card([adopted(tmp_path / "theirs", members)])
    data = yaml.safe_load(card.split("---\n")[1])
    assert data["configs"][0]["data_files"] == [{"split": "train", "path": "train/a-*.tar"}]
    assert ("class_label" in card) == has_names
    assert "adopted by\nalexkit" in card and "filter" not in card and "seed" not in card.partition("```")[0]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (("train-00000.tar", "train-00001.tar"), "train/train-*.tar"),
        (("train-00000.tar",), "train/train-*.tar"),
        (("x.tar",), "train/x*.tar"),
        (("00.tar", "01.tar"), "train/*.tar"),
        (("a [1].tar", "a [2].tar"), "train/*.tar"),
    ],
)
def test_the_pattern_of_a_set_finds_its_tars(
    draw_shards: Callable[..., Path], names: tuple[str, ...], pattern: str
) -> None:
    manifest = ShardSet.open(draw_shards()).manifest
    shards = tuple(replace(manifest.shards[0], name=name) for name in names)
    assert pattern_of_tars(replace(manifest, shards=shards)) == pattern


def test_a_readme_that_is_not_ours_stays_and_one_of_ours_follows_the_splits(
    draw_source: Callable[..., Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    sets = build(draw_source(), out)
    card = (out / "README.md").read_text()
    assert "split: validation" in card
    write_dataset_card(out, sets[:1])
    assert "split: validation" not in (out / "README.md").read_text()
    (out / "README.md").write_text("mine")
    write_dataset_card(out, sets)
    assert (out / "README.md").read_text() == "mine"
