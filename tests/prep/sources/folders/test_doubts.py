"""Folders that hardly can be classes are refused, since their names would silently become labels."""

import zipfile
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.folders.doubts import refuse_copies, refuse_masks
from alexkit.prep.sources.folders.files import DiskFile
from alexkit.prep.sources.folders.listing import Folder
from alexkit.prep.sources.remarks import Remarks

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
        (("training/0_1.jpg", "validation/0_2.jpg", "evaluation/0_3.jpg"), "evaluation"),
        (("train/1.png", "test/2.png", "extra/3.png"), "extra"),
        (("train/a/0/c/a0c1.jpg", "train/b/1/c/b1c2.jpg", "train.csv"), "train/a/0/c"),
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
        ("train", "evaluation"),
        ("train", "test", "bus"),
        ("a/b", "c/barn"),
        ("with_image/a", "with_image/b", "c/a"),
    ],
)
def test_names_that_only_contain_such_words_are_classes(tmp_path: Path, classes: tuple[str, ...]) -> None:
    (split,) = open_source(put(tmp_path, *(f"{name}/1.jpg" for name in classes))).splits
    assert {entry.id for entry in split.classes} == {*classes}


def test_classes_of_the_training_split_are_classes_in_others(tmp_path: Path) -> None:
    """`val/cat_images`, alone in its split, once was refused."""
    source = open_source(put(tmp_path, "train/cat_images/1.jpg", "train/dog_images/2.jpg", "val/cat_images/3.jpg"))
    assert source.splits[1].images_per_class() == {"cat_images": 1, "dog_images": 0}


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


def test_masks_in_a_folder_beside_images_are_passed_over(tmp_path: Path) -> None:
    """COVID and COVID/masks once were two classes, as the radiographs of Kaggle's COVID-19 database lie."""
    names = [f"{name}/{inner}/1.png" for name in ("COVID", "Normal") for inner in ("images", "masks")]
    source = open_source(put(tmp_path, *names, "cat/masks/1.png"))
    assert [entry.id for entry in source.splits[0].classes] == ["COVID", "Normal", "cat/masks"]
    assert source.passed_over == (f"folders of masks or annotations beside images/: 2, e.g. {tmp_path}/COVID/masks",)


def test_segmentations_beside_the_class_folders_are_passed_over(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "images/001.A/1.jpg", "images/002.B/1.jpg", "segmentations/001.A/1.png"))
    assert [entry.id for entry in source.splits[0].classes] == ["001.A", "002.B"]
    assert source.passed_over == (f"folders of masks or annotations: {tmp_path}/segmentations",)


@pytest.mark.parametrize(
    "name", ["benign (1)_mask.png", "benign (1)_mask_1.png", "benign (1)-Mask.jpg", "benign (1)_MASK.png"]
)
def test_masks_beside_their_images_are_refused(tmp_path: Path, name: str) -> None:
    """As in the breast ultrasound images of BUSI, where they once were images of the class."""
    folder = put(tmp_path, "benign/benign (1).png", f"benign/{name}", "malignant/1.png")
    with pytest.raises(InputError, match=r"seems to be the mask of benign \(1\).png, .* move all masks out of SOURCE"):
        open_source(folder)
    assert len(open_source(folder, SourceOptions(layout="class-folders")).splits[0].images) == 3


def test_names_with_the_word_mask_are_images(tmp_path: Path) -> None:
    (split,) = open_source(put(tmp_path, "with_mask/1_mask.jpg", "with_mask/2.jpg", "none/mask.jpg")).splits
    assert len(split.images) == 3


def test_a_class_deep_inside_another_is_noted(tmp_path: Path) -> None:
    (note,) = open_source(put(tmp_path, "001.ak47/1.jpg", "056.dog/2.jpg", "056.dog/greg/vision309/3.jpg")).notes
    assert "056.dog/greg/vision309 is inside 056.dog and both hold images, so they are two classes; --class-" in note


def test_classes_that_differ_only_in_case_are_noted(tmp_path: Path) -> None:
    if (put(tmp_path, "Cat/1.jpg") / "cat").exists():
        pytest.skip("this file system ignores case")
    assert open_source(put(tmp_path, "cat/2.jpg", "dog/3.jpg")).notes == (
        "classes Cat and cat differ only in case; if they are one class, merge them",
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [("pets-20230101T120000Z-001", "pets-20230101T120000Z-002"), ("part1", "part2"), ("10253", "10254")],
)
def test_numbered_folders_of_the_same_classes_are_refused(tmp_path: Path, one: str, other: str) -> None:
    """As Google Drive divides downloads; each part once had classes of its own."""
    folder = put(tmp_path, f"{one}/cat/1.jpg", f"{other}/cat/2.jpg", f"{other}/dog/3.jpg")
    with pytest.raises(InputError, match=rf"{one}/cat and {other}/cat would be two .* cp -r {one}/. {other}/. all/"):
        open_source(folder)
    assert len(open_source(folder, SourceOptions(layout="class-folders")).splits[0].classes) == 3
    assert open_source(folder, SourceOptions(class_depth=1)).splits[0].images_per_class() == {one: 1, other: 2}
    assert len(open_source(folder, SourceOptions(class_depth=2)).splits[0].classes) == 3
    put(tmp_path / "all", "cat/1.jpg", "cat/2.jpg", "dog/3.jpg")
    assert open_source(tmp_path / "all").splits[0].images_per_class() == {"cat": 2, "dog": 1}


def test_zip_files_in_folders_are_answered_by_unpacking_them(tmp_path: Path) -> None:
    for name in ("train.zip", "test.zip"):
        (tmp_path / "data").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "data" / name, "w") as archive:
            archive.writestr("cat/1.jpg", name)
    with pytest.raises(InputError, match=r"data: holds zip files \(test.zip\), which are not read in a folder; unpack"):
        open_source(put(tmp_path, "README.md"))
    with pytest.raises(
        InputError, match=r"unpack the zips, each to a folder of its name: for zip in \*.zip; do unzip -d "
    ):
        open_source(tmp_path / "data")


def test_doubts_take_no_more_time_than_the_listing() -> None:
    """64,000 patients with a folder per study, and 40,000 masks in one folder, take seconds if all pairs are tried."""
    folder = Folder(where=Path("chexpert"), remarks=Remarks())
    refuse_copies(folder, [f"patient{i}/study{j}" for i in range(64_000) for j in (1, 2)])
    refuse_masks([DiskFile(f"{i}_mask.png", f"x/{i}_mask.png", 1) for i in range(40_000)])
