"""Folders that hardly can be classes are refused, since their names would silently become labels."""

from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source

from ..trees import put


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("HAM10000_images_part_1/1.jpg", "HAM10000_images_part_2/2.jpg"), "HAM10000_images_part_1"),
        (("images_001/images/1.jpg", "images_002/images/2.jpg", "Data_Entry_2017.csv"), "images_001"),
        (("train_images/1.png", "test_images/2.png", "unlabeled_images/3.png"), "test_images"),
        (("images/Bengal_1.jpg", "annotations/trimaps/Bengal_1.png"), "images"),
        (("JPEGImages/1.jpg", "SegmentationClass/1.png"), "JPEGImages"),
        (("cat/1.jpg", "dog/2.jpg", "images/3.jpg"), "images"),
        (("jpg/1.jpg", "imagelabels.mat"), "jpg"),
        (("img_align_celeba/1.jpg",), "img_align_celeba"),
        (("ISIC_2019_Training_Input/ISIC_2019_Training_Input/1.jpg",), "ISIC_2019_Training_Input"),
        (("data_256_standard/a/airfield/1.jpg", "data_256_standard/b/bar/1.jpg", "val_256/2.jpg"), "val_256"),
        (("train/data/1.jpg", "test/data/2.jpg"), "train/data"),
    ],
)
def test_folders_of_images_of_all_classes_are_no_classes(tmp_path: Path, names: tuple[str, ...], first: str) -> None:
    """Each of them was once a class, with exit code 0."""
    with pytest.raises(InputError, match=rf"{first}: seems to hold images of all classes, not of one class; pass a "):
        open_source(put(tmp_path, *names))
    assert open_source(tmp_path, SourceOptions(layout="class-folders")).splits


def test_the_table_beside_such_folders_is_named(tmp_path: Path) -> None:
    folder = put(
        tmp_path, "my_images_1/1.jpg", "my_images_2/2.jpg", "labels.csv", "a_test.csv", "sample_submission.csv"
    )
    with pytest.raises(InputError, match=r"; if .*/labels.csv lists them, pass that file as SOURCE$"):
        open_source(folder)


@pytest.mark.parametrize(
    "classes",
    [
        ("training_fake", "training_real"),
        ("cat_images", "dog_images"),
        ("part_1", "part_2"),
        ("0", "1"),
        ("train_1", "car"),
        ("masks", "hats"),
        ("photo", "raw"),
        ("with_image/a", "with_image/b", "c/a"),
    ],
)
def test_names_that_only_contain_such_words_are_classes(tmp_path: Path, classes: tuple[str, ...]) -> None:
    (split,) = open_source(put(tmp_path, *(f"{name}/1.jpg" for name in classes))).splits
    assert {entry.id for entry in split.classes} == {*classes}


@pytest.mark.parametrize(
    ("outer", "inner"), [("cell_images", "cell_images"), ("brain_tumor_dataset", "brain_tumor_dataset"), ("data", "")]
)
@pytest.mark.parametrize("split", ["", "train/"])
def test_classes_that_were_packed_twice_are_refused(tmp_path: Path, outer: str, inner: str, split: str) -> None:
    """Images of one class once became two classes, each with the same images."""
    names = [f"{split}{place}{name}/1.png" for place in ("", f"{outer}/") for name in ("yes", "no")]
    folder = put(tmp_path / inner, *names)
    words = rf": {outer}/ holds folders like .*no, and .* pass {folder}/{split}{outer} as SOURCE"
    with pytest.raises(InputError, match=words):
        open_source(tmp_path)
    assert len(open_source(folder / split / outer).splits[0].classes) == 2
    assert len(open_source(tmp_path, SourceOptions(layout="class-folders")).splits[0].classes) == 4


def test_a_class_of_the_same_name_in_one_folder_alone_is_a_class(tmp_path: Path) -> None:
    (split,) = open_source(put(tmp_path, "cat/1.jpg", "dog/1.jpg", "big/cat/1.jpg")).splits
    assert len(split.classes) == 3
