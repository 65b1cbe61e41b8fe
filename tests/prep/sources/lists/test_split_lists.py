"""Laws of official splits: lists without labels divide class folders, and lists that do not are named."""

import os
import shutil
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.storage import StoreUrl, client

from ..trees import put

ALL = SourceOptions(layout="class-folders")


def food(folder: Path, train: str = "pie/1\ncake/2\n", test: str = "pie/3\n", lists: str = "meta") -> Path:
    """Food-101's layout."""
    put(folder, "images/pie/1.jpg", "images/pie/3.jpg", "images/cake/2.jpg", "meta/classes.txt")
    put(folder, f"{lists}/train.txt", f"{lists}/test.txt")
    (folder / lists / "train.txt").write_text(train)
    (folder / lists / "test.txt").write_text(test)
    return folder


@pytest.mark.parametrize("lists", ["meta", "", "images"])
@pytest.mark.parametrize("ext", ["", ".jpg"])
def test_lists_of_images_without_labels_divide_class_folders(tmp_path: Path, lists: str, ext: str) -> None:
    """Once, the official test images were read as training images, without a word."""
    train = f"pie/1{ext}\r\ncake/2{ext}\r\n\r\n"
    source = open_source(food(tmp_path, train, f"pie/3{ext}\n", lists))
    assert [(split.name, split.images_per_class()) for split in source.splits] == [
        ("train", {"cake": 1, "pie": 1}),
        ("test", {"cake": 0, "pie": 1}),
    ]
    assert [image.name for image in source.splits[0].images] == ["cake/2.jpg", "pie/1.jpg"]
    words = f"divided into splits as train.txt and test.txt in {tmp_path / lists} list its images; --layout class-folde"
    assert any(words in note for note in source.notes)
    assert not any("train.txt" in line for line in source.passed_over)
    put(tmp_path, "images/pie/4.jpg")
    (tmp_path / lists / "train.txt").write_text(f"{train}pie/4{ext}\n")
    with_val = open_source(tmp_path, SourceOptions(val_fraction=0.5))
    assert [(split.name, len(split.images)) for split in with_val.splits] == [("train", 2), ("val", 1), ("test", 1)]


@pytest.mark.parametrize("lists", ["meta", "", "images"])
def test_the_layout_class_folders_reads_all_images_and_names_the_lists(tmp_path: Path, lists: str) -> None:
    source = open_source(food(tmp_path, lists=lists), ALL)
    (split,) = source.splits
    assert split.images_per_class() == {"cake": 1, "pie": 2}
    assert any("train.txt may list official splits, but were not used; to use them" in note for note in source.notes)


def test_paths_from_the_folder_next_to_the_lists_divide_class_folders(tmp_path: Path) -> None:
    source = open_source(food(tmp_path, "images/pie/1.jpg\nimages/cake/2.jpg\n", "images/pie/3.jpg\n", ""))
    assert [(split.name, len(split.images)) for split in source.splits] == [("train", 2), ("test", 1)]


def test_lists_without_labels_that_fit_no_image_are_refused(tmp_path: Path) -> None:
    food(tmp_path, "pie/1x\n", "pie/3x\n", "")
    with pytest.raises(InputError, match=r"train.txt: does not divide the class folders in .*images: expected lines l"):
        open_source(tmp_path)
    assert len(open_source(tmp_path, ALL).splits[0].images) == 3


def test_lists_next_to_class_folders_divide_them(tmp_path: Path) -> None:
    food(tmp_path / "set", lists="images")
    source = open_source(tmp_path / "set/images")
    assert [(split.name, len(split.images)) for split in source.splits] == [("train", 2), ("test", 1)]


def test_the_tables_of_cub_divide_class_folders(tmp_path: Path) -> None:
    put(tmp_path, "images/001.A/x_1.jpg", "images/001.A/x_2.jpg", "images/002.B/x_3.jpg", "attributes/a.txt")
    (tmp_path / "images.txt").write_text("1 001.A/x_1.jpg\n2 001.A/x_2.jpg\n3 002.B/x_3.jpg\n")
    (tmp_path / "train_test_split.txt").write_text("1 0\n2 1\n3 1\n")
    train, test = open_source(tmp_path).splits
    assert [image.name for image in train.images] == ["001.A/x_2.jpg", "002.B/x_3.jpg"] and train.name == "train"
    assert [image.name for image in test.images] == ["001.A/x_1.jpg"] and test.name == "test"
    (tmp_path / "train_test_split.txt").write_text("1 0\n4 1\n")
    with pytest.raises(InputError, match=r"train_test_split.txt: image 4 has '1' and no path in images.txt; expected"):
        open_source(tmp_path)
    assert len(open_source(tmp_path, ALL).splits[0].images) == 3


def test_images_that_are_in_no_list_or_are_missing_are_told(tmp_path: Path) -> None:
    put(food(tmp_path, "pie/1\ncake/2\npie/9\n", "pie/3\n"), "images/cake/4.jpg")
    source = open_source(tmp_path)
    assert [len(split.images) for split in source.splits] == [2, 1]
    assert f"images that train.txt and test.txt do not list: {tmp_path}/images/cake/4.jpg" in source.passed_over
    assert any("train.txt, line 3: pie/9 is not among the images; listed but missing: 1" in one for one in source.notes)


@pytest.mark.parametrize(
    ("test", "more", "words"),
    [
        ("pie/3\npie/1\n", "x.txt", r"test.txt, line 2: pie/1 is in test and, by .*train.txt, line 1, in train; rem"),
        ("pie/3\n", "images/pie/3.png", r"test.txt, line 1: pie/3 can be any of two images that differ only in their"),
    ],
)
def test_lists_that_contradict_themselves_or_the_images_are_refused(
    tmp_path: Path, test: str, more: str, words: str
) -> None:
    put(food(tmp_path, test=test), more)
    with pytest.raises(InputError, match=words):
        open_source(tmp_path)
    assert len(open_source(tmp_path, ALL).splits) == 1


def test_lists_in_two_folders_are_for_a_person_to_choose(tmp_path: Path) -> None:
    shutil.copytree(food(tmp_path) / "meta", tmp_path / "more")
    with pytest.raises(InputError, match=r"meta/train.txt and .*more/train.txt both divide .*; move one of them away"):
        open_source(tmp_path)
    shutil.rmtree(tmp_path / "more")
    assert len(open_source(tmp_path).splits) == 2


@pytest.mark.parametrize("name", ["labels/train1.txt", "lists/train_list.mat", "splits/trainval.txt", "meta/test.json"])
def test_lists_that_are_not_read_are_named(tmp_path: Path, name: str) -> None:
    """Those of DTD, Stanford Dogs and others."""
    source = open_source(put(tmp_path, "images/pie/1.jpg", "images/cake/2.jpg", name))
    assert [split.name for split in source.splits] == ["train"]
    assert any(f"read as one split; {tmp_path / name} may list official splits" in note for note in source.notes)


def test_lists_in_a_store_divide_its_class_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = pytest.importorskip("obstore.store")
    food(tmp_path / "store/set")
    url = StoreUrl("s3", "bucket", "set")
    root, _ = client._split(url)
    monkeypatch.setitem(client._clients, (os.getpid(), root, 0), store.LocalStore(tmp_path / "store"))
    source = open_source(url)
    assert [(split.name, len(split.images)) for split in source.splits] == [("train", 2), ("test", 1)]
    assert any("train.txt and test.txt in s3://bucket/set/meta list its images" in note for note in source.notes)


def test_lists_alone_are_answered_by_the_folder_that_contains_them_and_the_images(tmp_path: Path) -> None:
    food(tmp_path)
    for source in (tmp_path / "meta", tmp_path / "meta/train.txt"):
        with pytest.raises(InputError, match=r"'pie/1'; expected .*; if the list divides .* that contains both$"):
            open_source(source, SourceOptions(image_root=tmp_path / "images"))


def test_lists_in_a_zip_file_are_named(tmp_path: Path) -> None:
    source = open_source(Path(shutil.make_archive(str(tmp_path / "food"), "zip", food(tmp_path / "food"))))
    assert len(source.splits) == 1
    assert any(
        "train.txt may list official splits, but were not used; to use them, unpack" in one for one in source.notes
    )
