"""Laws of recognizing and listing a source."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources.recognize import open_source


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def test_train_and_val_are_two_splits_with_one_class_table(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "train/b/1.jpg", "train/a/2.jpg", "train/a/1.jpg", "val/a/1.jpg", "val/b/9.jpg"))
    train, val = source.splits
    assert [(image.name, image.label) for image in train.images] == [("a/1.jpg", 0), ("a/2.jpg", 0), ("b/1.jpg", 1)]
    assert [(entry.index, entry.id) for entry in train.classes] == [(0, "a"), (1, "b")]
    assert val.name == "val" and val.classes == train.classes
    assert str(tmp_path / "train") in source.description and str(tmp_path / "val") in source.description
    assert train.images[0].read() == b"train/a/1.jpg"


@pytest.mark.parametrize("name", ["val", "validation", "test"])
def test_the_validation_split_goes_by_several_names(tmp_path: Path, name: str) -> None:
    source = open_source(put(tmp_path, "train/a/1.jpg", f"{name}/a/1.jpg"))
    assert [split.name for split in source.splits] == ["train", "val"]


def test_val_is_preferred_to_test(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "train/a/1.jpg", "val/a/1.jpg", "test/a/2.jpg", "test/a/3.jpg"))
    assert len(source.splits[1].images) == 1


def test_class_folders_alone_are_one_split(tmp_path: Path) -> None:
    (split,) = open_source(put(tmp_path, "cat/1.jpg", "dog/1.jpg")).splits
    assert split.name == "train" and split.images_per_class() == {"cat": 1, "dog": 1}


def test_hidden_files_are_not_inputs(tmp_path: Path) -> None:
    (split,) = open_source(put(tmp_path, "cat/1.jpg", "cat/.DS_Store", ".git/x")).splits
    assert [image.name for image in split.images] == ["cat/1.jpg"]


def test_the_list_does_not_depend_on_the_order_of_creation(tmp_path: Path) -> None:
    names = [f"c{i % 3}/{i}.jpg" for i in range(30)]
    lists = []
    for seed in range(2):
        random.Random(seed).shuffle(names)
        (split,) = open_source(put(tmp_path / str(seed), *names)).splits
        lists.append([image[:2] for image in split.images])
    assert lists[0] == lists[1]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "holds no class folders"),
        (("train/a/1.jpg", "train/b/.hidden"), "train/b: class without images"),
        (("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"), "1 only in train: b"),
        (("train/a/1.jpg", "val/a/1.jpg", "val/b/1.jpg"), "1 only in val: b"),
        (("a/b/1.jpg",), "a folder inside a class folder"),
        (("train/1.jpg",), "holds no class folders"),
    ],
)
def test_what_is_no_source_is_refused_by_name(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_source(put(tmp_path, *names))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        open_source(tmp_path / "nowhere")


def test_a_link_to_nothing_is_a_bad_input_and_not_the_end(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    source = draw_source(splits=("train",))
    for name, target in (("gone", "nowhere.JPEG"), ("circle", "circle.JPEG")):
        (source / f"train/n00000001/{name}.JPEG").symlink_to(target)
    options = BuildOptions(pixels=PixelOptions(size_px=32), num_workers=1)
    (built,) = build_shards(
        open_source(source), tmp_path / "out", options, on_split=lambda split: lambda done, num_bad: None
    )
    reasons = {bad.source: bad.reason for bad in built.shard_set.manifest.quarantined}
    assert reasons == {
        "n00000001/circle.JPEG": "cannot be read: Too many levels of symbolic links",
        "n00000001/gone.JPEG": "cannot be read: No such file or directory",
    }


def test_the_fingerprint_sees_every_change(tmp_path: Path) -> None:
    def fingerprint() -> str:
        return open_source(tmp_path).splits[0].fingerprint()

    put(tmp_path, "a/1.jpg", "b/1.jpg")
    seen = [fingerprint()]
    put(tmp_path, "a/2.jpg")
    seen.append(fingerprint())
    (tmp_path / "a/2.jpg").write_bytes(b"other size!")
    seen.append(fingerprint())
    (tmp_path / "a/2.jpg").rename(tmp_path / "a/3.jpg")
    seen.append(fingerprint())
    (tmp_path / "a/3.jpg").rename(tmp_path / "b/3.jpg")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)
    assert fingerprint() == seen[-1]
