"""Which folders are splits: what people call them, and what is a class although its name holds such a word."""

from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.split_names import are_numbered

from ..trees import put


@pytest.mark.parametrize(
    ("names", "counts", "passed_over"),
    [
        (("train_set/a/1.jpg", "test_set/a/2.jpg", "test_set/a/3.jpg"), {"train": 1, "test": 2}, 0),
        (("Training Set/a/1.jpg", "Test Set/a/2.jpg"), {"train": 1, "test": 1}, 0),
        (("train2017/a/1.jpg", "val2017/a/2.jpg"), {"train": 1, "val": 1}, 0),
        (("seg_train/seg_train/a/1.jpg", "seg_test/seg_test/a/2.jpg", "seg_pred/3.jpg"), {"train": 1, "test": 1}, 1),
        (("train/train/a/1.jpg", "test/test/a/2.jpg"), {"train": 1, "test": 1}, 0),
        (("train/images/a/1.jpg", "val/images/a/2.jpg"), {"train": 1, "val": 1}, 0),
        (("train_mini/a/1.jpg", "val/a/2.jpg"), {"train": 1, "val": 1}, 0),
        (("train_small/a/1.jpg", "small-test/a/2.jpg"), {"train": 1, "test": 1}, 0),
        (("train_mini/a/1.jpg", "train/a/1.jpg", "val/a/2.jpg"), {"train": 1, "val": 1}, 1),
        (("train/a/1.jpg", "test/a/2.jpg", "train_val/a/3.jpg"), {"train": 1, "test": 1}, 1),
        (("train_mini/a/1.jpg", "val/a/2.jpg", "test_annotations/a/x.json"), {"train": 1, "val": 1}, 1),
        (("train_mini/a/1.jpg", "val_mini/a/2.jpg", "notes/x.txt"), {"train": 1, "val": 1}, 1),
        (("train_mini/a/1.jpg", "val/a/2.jpg", "x/a/3.jpg"), {"train": 1, "val": 1}, 1),
        (("ILSVRC_train/a/1.jpg", "ILSVRC_val/a/2.jpg", "ILSVRC_test/a/2.jpg"), {"train": 1, "val": 1, "test": 1}, 0),
    ],
)
def test_names_that_look_like_splits_are_splits_where_there_are_several(
    tmp_path: Path, names: tuple[str, ...], counts: dict[str, int], passed_over: int
) -> None:
    source = open_source(put(tmp_path, *names))
    assert {split.name: len(split.images) for split in source.splits} == counts
    assert [entry.id for entry in source.splits[0].classes] == ["a"] and len(source.passed_over) == passed_over


def test_folders_of_classes_of_the_same_names_are_told(tmp_path: Path) -> None:
    """What `train_mini` and `val` once were: folders of classes, without a word."""
    source = open_source(put(tmp_path, "subtrain/a/1.jpg", "held_out/a/2.jpg", "held_out/b/2.jpg"))
    assert list(source.splits[0].images_per_class()) == ["held_out/a", "held_out/b", "subtrain/a"]
    assert (
        "held_out/a and subtrain/a are two classes; if held_out and subtrain are splits, name them" in source.notes[0]
    )


@pytest.mark.parametrize(
    "names",
    [
        ("train station/1.jpg", "test tube/1.jpg"),
        ("train_1/1.jpg", "car/1.jpg"),
        ("test_a/1.jpg", "x/1.jpg"),
        ("train station/1.jpg", "train station/old/1.jpg", "test tube/old/1.jpg"),
        ("train station/old/1.jpg", "test tube/new/1.jpg"),
        ("train station/a/1.jpg", "test tube/a/2.jpg", "dev board/a/2.jpg", "cat/a/3.jpg"),
        ("train1/a/1.jpg", "train2/b/2.jpg", "cat/a/3.jpg"),
    ],
)
def test_classes_whose_names_hold_a_word_of_splits_are_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    (split,) = open_source(put(tmp_path, *names)).splits
    assert [entry.id for entry in split.classes] == sorted(name.rpartition("/")[0] for name in names)


@pytest.mark.parametrize("inner", ["images", "Images"])
def test_a_folder_of_images_in_every_class_is_no_class_that_splits_share(tmp_path: Path, inner: str) -> None:
    names = [f"{name}/{inner}/{name}.jpg" for name in ("train station", "test tube", "cat")]
    (split,) = open_source(put(tmp_path, *names)).splits
    assert split.images_per_class() == {"cat": 1, "test tube": 1, "train station": 1}


@pytest.mark.parametrize("names", [("train_mini/a/1.jpg", "val_mini/a/2.jpg"), ("train1/a/1.jpg", "train2/b/2.jpg")])
def test_what_is_a_split_only_by_a_word_of_its_name_is_told_and_can_be_read_as_classes(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    first, second = (name.partition("/")[0] for name in names)
    found = open_source(put(tmp_path, *names))
    assert f"{first} and {second} are read as splits, not as classes; --layout class-folders reads" in found.notes[0]
    (split,) = open_source(tmp_path, SourceOptions(layout="class-folders")).splits
    assert [entry.id for entry in split.classes] == [name.rpartition("/")[0] for name in names]


@pytest.mark.parametrize("names", [("train_mini/a/1.jpg", "val_mini/a/2.jpg"), ("train1/a/1.jpg", "train2/b/2.jpg")])
def test_what_is_a_split_only_by_a_word_of_its_name_is_refused_where_other_folders_would_be_dropped(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    put(tmp_path, *names, "extra/x/1.jpg")
    with pytest.raises(InputError, match=r"can be splits or, like extra, classes; .* move extra out .* --layout class"):
        open_source(tmp_path)
    (split,) = open_source(tmp_path, SourceOptions(layout="class-folders")).splits
    assert len(split.classes) == 3
    (tmp_path / "extra").rename(tmp_path / ".extra")
    assert len(open_source(tmp_path).splits[0].classes[0].id) == 1


FLAT = ("test_images/5.jpg", "test_images/6.jpg")


@pytest.mark.parametrize(
    ("names", "test"),
    [
        (("train_mini/a/1.jpg", "val/a/2.jpg", "public_test/5.jpg", "public_test/6.jpg"), "public_test"),
        (("train_mini/a/1.jpg", "val_mini/a/2.jpg", *FLAT), "test_images"),
        (("train_mini/a/1.jpg", "val/a/2.jpg", *FLAT, "test_masks/5.png"), "test_images"),
    ],
)
def test_test_images_without_labels_do_not_keep_others_from_being_splits(
    tmp_path: Path, names: tuple[str, ...], test: str
) -> None:
    """iNaturalist's train was once left out, or became classes together with the test images."""
    found = open_source(put(tmp_path, *names))
    assert [(split.name, len(split.images)) for split in found.splits] == [("train", 1), ("val", 1)]
    assert any(note.startswith(f"left out: {tmp_path / test}: images without labels") for note in found.notes)
    found = open_source(tmp_path, SourceOptions(unlabeled=True))
    assert [(split.name, len(split.images)) for split in found.splits] == [("train", 1), ("val", 1), ("test", 2)]


@pytest.mark.parametrize(
    ("names", "first", "second", "split"),
    [
        (("train1/a/1.jpg", "train2/a/2.jpg", "test1/a/2.jpg", "test2/a/1.jpg"), "train1", "train2", "training"),
        (("train/a/1.jpg", "val1/a/2.jpg", "val2/a/3.jpg"), "val1", "val2", "validation"),
        (("train/a/1.jpg", "test_2018/a/2.jpg", "test_2019/a/3.jpg", "test_2019/b/3.jpg"), "test_2018", "9", "test"),
        (("train/a/1.jpg", "train2/a/2.jpg", "train3/a/3.jpg", "val/a/4.jpg"), "train", "train2", "training"),
        (("train1/a/1.jpg", "train2/2.jpg", "val/a/4.jpg"), "train1", "train2", "training"),
        (("train_mini/a/1.jpg", "train_rest/b/2.jpg", "val/a/4.jpg"), "train_mini", "train_rest", "training"),
    ],
)
def test_folders_that_could_be_one_split_or_several_are_for_a_person_to_choose(
    tmp_path: Path, names: tuple[str, ...], first: str, second: str, split: str
) -> None:
    """The folds of a cross-validation, once merged, gave the same images for training and for testing."""
    with pytest.raises(InputError, match=rf"more than one {split} split: {first} .* and .*{second} .*; to read one of"):
        open_source(put(tmp_path, *names))


def test_numbered_folders_alone_that_share_classes_are_for_a_person_to_choose(tmp_path: Path) -> None:
    put(tmp_path, "train1/a/1.jpg", "train1/b/2.jpg", "train2/a/3.jpg")
    with pytest.raises(InputError, match=r"train1 and train2 can be several train splits, parts of one, or classes"):
        open_source(tmp_path)
    (split,) = open_source(tmp_path, SourceOptions(layout="class-folders")).splits
    assert [entry.id for entry in split.classes] == ["train1/a", "train1/b", "train2/a"]
    (tmp_path / "train2/a").rename(tmp_path / "train1/c")
    (tmp_path / "train2").rmdir()
    (tmp_path / "train1").rename(tmp_path / "train")
    assert [entry.id for entry in open_source(tmp_path).splits[0].classes] == ["a", "b", "c"]


def test_numbered_folders_of_different_classes_are_one_split(tmp_path: Path) -> None:
    """With what is beside class folders elsewhere too: other files, a stray image, and an empty part."""
    put(tmp_path, "train/a/1.jpg", "train/classes.txt", "train2/b/1.jpg", "train2/classes.txt", "train2/stray.jpg")
    put(tmp_path, "val/a/2.jpg", "train.csv")
    (tmp_path / "train3").mkdir()
    found = open_source(tmp_path)
    assert [split.images_per_class() for split in found.splits] == [{"a": 1, "b": 1}, {"a": 1, "b": 0}]
    assert found.passed_over == (
        f"files beside class folders: {tmp_path}/train2/stray.jpg",
        f"files that belong to no split: {tmp_path}/train.csv",
        f"folders that are not splits: {tmp_path}/train3",
        f"non-image files beside images: 2, e.g. {tmp_path}/train/classes.txt",
    )
    (tmp_path / "train2/c").mkdir()
    with pytest.raises(InputError, match=r"/train2/c: class without images"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("names", "train"),
    [
        (("train_mini/a/1.jpg", "val/2.jpg", "val.txt"), "train_mini"),
        (("train_val/a/1.jpg", "test/a/2.jpg"), "train_val"),
        (("trainval/b/1.jpg", "test/a/2.jpg"), "trainval"),
        (("subset/a/1.jpg", "val/a/2.jpg"), "subset"),
    ],
)
def test_a_training_split_is_not_lost_because_of_its_name(tmp_path: Path, names: tuple[str, ...], train: str) -> None:
    put(tmp_path, *names)
    (tmp_path / "val.txt").write_text("2.jpg\ta\n")
    with pytest.raises(InputError, match=rf"read without a training split, but {train} also holds .* rename it to tr"):
        open_source(tmp_path)
    (tmp_path / train).rename(tmp_path / "train")
    if train != "trainval":  # has other classes than test, which is refused
        assert open_source(tmp_path).splits[0].name == "train"


def test_a_variant_of_a_split_is_not_taken_for_the_training_split(tmp_path: Path) -> None:
    source = open_source(put(tmp_path, "val/a/1.jpg", "val_blurred/a/2.jpg"))
    assert [split.name for split in source.splits] == ["val"]
    assert source.passed_over == (f"folders that are not splits: {tmp_path / 'val_blurred'}",)


def test_names_are_numbered_alike_also_if_lower_case_changes_their_length() -> None:
    assert are_numbered(("Maß train", "Maß train2")) and not are_numbered(("Maß train", "Maß trainer"))


def test_letters_of_every_alphabet_are_no_part_of_a_number() -> None:
    assert are_numbered(("猫1", "猫2")) and not are_numbered(("猫1", "狗2")) and not are_numbered(("é1", "è2"))


def test_gtsrb_is_read_as_it_unpacks(tmp_path: Path) -> None:
    """Its test folder once was a class Images, so that train and test had different classes."""
    names = ("Final_Training/Images/00000/1.ppm", "Final_Training/Images/00001/2.ppm", "Final_Test/Images/3.ppm")
    source = open_source(put(tmp_path, *names))
    assert [(split.name, list(split.images_per_class())) for split in source.splits] == [("train", ["00000", "00001"])]
    assert f"left out: {tmp_path}/Final_Test/Images: images without labels" in source.notes[0]


def test_masks_beside_the_images_of_a_split_are_passed_over(tmp_path: Path) -> None:
    """images/cat and masks/cat once were two classes."""
    names = [
        f"{split}/{inner}/{name}/1.png" for split in ("train", "val") for inner in ("images", "masks") for name in "ab"
    ]
    source = open_source(put(tmp_path, *names))
    assert {split.name: split.images_per_class() for split in source.splits} == {
        split: {"a": 1, "b": 1} for split in ("train", "val")
    }
    assert source.notes == ()
    assert source.passed_over == (f"folders of masks or annotations: 2, e.g. {tmp_path}/train/masks",)


def test_folders_named_by_split_and_format_are_splits(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"train-jpg: images without labels; .*if .*train_v2.csv lists them, pass that"
    ):
        open_source(put(tmp_path, "train-jpg/1.jpg", "test-jpg/2.jpg", "train_v2.csv"))


def test_classes_called_blobs_and_snapshots_are_no_cache(tmp_path: Path) -> None:
    (split,) = open_source(put(tmp_path, "blobs/1.jpg", "snapshots/2.jpg")).splits
    assert split.images_per_class() == {"blobs": 1, "snapshots": 1}


def test_the_cache_of_hugging_face_is_read_by_its_only_snapshot(tmp_path: Path) -> None:
    folder = put(tmp_path / "datasets--me--pets", "blobs/1f", "blobs/2e", "refs/main")
    for split, blob in (("train", "1f"), ("test", "2e")):
        image = folder / f"snapshots/abc/{split}/cat/1.jpg"
        image.parent.mkdir(parents=True)
        image.symlink_to(folder / "blobs" / blob)
    for source in (open_source(folder), open_source(tmp_path)):
        assert [image.read() for split in source.splits for image in split.images] == [b"blobs/1f", b"blobs/2e"]
    (folder / "snapshots/def").mkdir()
    with pytest.raises(InputError, match=r"pass one of its snapshots as SOURCE: .*/snapshots/abc, .*/snapshots/def$"):
        open_source(folder)
