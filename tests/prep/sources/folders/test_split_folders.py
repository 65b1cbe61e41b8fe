"""Which folders are splits: what people call them, and what is a class although its name holds such a word."""

from pathlib import Path

import pytest

from alexkit.prep.sources import open_source

from ..trees import put


@pytest.mark.parametrize(
    ("names", "counts", "passed_over"),
    [
        (("train_set/a/1.jpg", "test_set/a/2.jpg", "test_set/a/3.jpg"), {"train": 1, "test": 2}, 0),
        (("Training Set/a/1.jpg", "Test Set/a/2.jpg"), {"train": 1, "test": 1}, 0),
        (("train2017/a/1.jpg", "val2017/a/2.jpg"), {"train": 1, "val": 1}, 0),
        (("seg_train/seg_train/a/1.jpg", "seg_test/seg_test/a/2.jpg", "seg_pred/3.jpg"), {"train": 1, "test": 1}, 1),
        (("train/train/a/1.jpg", "test/test/a/2.jpg"), {"train": 1, "test": 1}, 0),
        (("train_mini/a/1.jpg", "val/a/2.jpg"), {"train": 1, "val": 1}, 0),
        (("train_small/a/1.jpg", "small-test/a/2.jpg"), {"train": 1, "test": 1}, 0),
        (("train_mini/a/1.jpg", "train/a/1.jpg", "val/a/2.jpg"), {"train": 1, "val": 1}, 1),
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
    ],
)
def test_classes_whose_names_hold_a_word_of_splits_are_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    (split,) = open_source(put(tmp_path, *names)).splits
    assert [entry.id for entry in split.classes] == sorted(name.rpartition("/")[0] for name in names)
