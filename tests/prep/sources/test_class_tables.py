"""Laws of class tables: one for all splits of a source; a label that would mean two things is refused."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceSplit
from alexkit.prep.sources.class_tables import join_classes
from alexkit.prep.sources.inputs import ClassOrder, FileImage
from alexkit.prep.sources.labels import sorted_split
from alexkit.prep.sources.val_fraction import hold_out, num_held_out


def split_of(name: str, ids: Sequence[str], order: ClassOrder, labels: Sequence[int] | None = None) -> SourceSplit:
    labels = range(len(ids)) if labels is None else labels
    return sorted_split(name, [FileImage(f"{ids[i]}/{name}.jpg", i, "", 0) for i in labels], ids, order)


NUMBERS = [str(i) for i in range(12)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((["a", "b", "c"], "text"), (["b"], "text")),
        ((["b", "a", "c"], "table"), (["b", "a", "c"], "table")),
        ((["a", "b", "c"], "text"), (["a", "c"], "text")),
        ((["c", "a", "b"], "table"), (["a", "b", "c"], "text")),
        ((["c", "a", "b"], "table"), (["c", "b"], "table")),
        ((NUMBERS, "numbers"), (NUMBERS[:5], "numbers")),
        ((NUMBERS[:9], "text"), (NUMBERS[:4], "numbers")),
    ],
)
def test_val_gets_the_table_of_train_and_labels_keep_their_classes(
    first: tuple[list[str], ClassOrder], second: tuple[list[str], ClassOrder]
) -> None:
    train, val = split_of("train", *first), split_of("val", *second)
    _, joined = join_classes(Path("source"), (train, val))
    assert joined.classes == train.classes
    expected = sorted((first[0].index(class_id), f"{class_id}/val.jpg") for class_id in second[0])
    assert [(image.label, image.name) for image in joined.images] == expected


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ((["a", "b"], "text"), (["a", "b", "c"], "text"), "1 only in val: c"),
        ((["a", "b"], "text"), (["0", "1"], "numbers"), "2 only in val: 0, 1"),
        (
            (sorted(NUMBERS), "text"),
            (NUMBERS, "numbers"),
            "different order .train sorted as text: 0, 1, 10, 11, …",
        ),
        ((NUMBERS, "numbers"), (sorted(NUMBERS), "text"), "in different order .train by number"),
        ((["a", "b"], "table"), (["b", "a"], "table"), "in different order .train in the order of its table: a, b"),
    ],
)
def test_a_label_that_would_mean_two_things_is_refused(
    first: tuple[list[str], ClassOrder], second: tuple[list[str], ClassOrder], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        join_classes(Path("source"), (split_of("train", *first), split_of("val", *second)))


def test_a_class_that_only_a_table_names_may_be_in_one_of_them(tmp_path: Path) -> None:
    val = split_of("val", ["a", "b", "c"], "table", labels=[0])
    assert len(join_classes(tmp_path, (split_of("train", ["a", "b"], "table"), val))[1].classes) == 2


def test_a_table_may_call_two_classes_by_one_name() -> None:
    train, val = (split_of(name, ["crane", "boat", "crane"], "table") for name in ("train", "val"))
    _, joined = join_classes(Path("source"), (train, val))
    assert [image.label for image in joined.images] == [0, 1, 2]


def images_of(counts: dict[str, int]) -> SourceSplit:
    ids = sorted(counts)
    images = [FileImage(f"{one}/{i}.jpg", label, "", 0) for label, one in enumerate(ids) for i in range(counts[one])]
    return sorted_split("train", images, ids, "text")


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
def test_a_fraction_of_each_class_is_held_out(fraction: float) -> None:
    counts = {"one": 1, "two": 2, "many": 200}
    whole = images_of(counts)
    train, val = hold_out(whole, fraction)
    assert sorted([*train.images, *val.images]) == sorted(whole.images)
    assert train.classes == val.classes == whole.classes and (train.name, val.name) == ("train", "val")
    assert val.images_per_class() == {"one": 0, "two": 1, "many": max(1, round(200 * fraction))}


def test_classes_of_one_image_each_have_none_to_hold_out() -> None:
    with pytest.raises(InputError, match=r"^--val-fraction 0\.1: no class has two or more images"):
        hold_out(images_of({"one": 1, "other": 1}), 0.1)


def test_what_is_held_out_depends_on_names_alone_and_stays_when_images_come() -> None:
    few, more = images_of({"cat": 200, "dog": 50}), images_of({"cat": 220, "dog": 50, "eel": 9})
    held_out = [{image.name for image in hold_out(split, 0.1)[1].images} for split in (few, more)]
    assert {name for name in held_out[0] if "dog" in name} == {name for name in held_out[1] if "dog" in name}
    assert len(held_out[0] - held_out[1]) <= 4  # of 25: twenty more images take the places of a few
    shuffled = list(few.images)
    random.Random(0).shuffle(shuffled)
    again = sorted_split("train", shuffled, [entry.id for entry in few.classes], "text")
    assert hold_out(again, 0.1)[1].images == hold_out(few, 0.1)[1].images


@pytest.mark.parametrize(("num_images", "expected"), [(1, 0), (2, 1), (5, 1), (10, 1), (15, 2), (100, 10)])
def test_every_class_with_two_images_is_on_both_sides(num_images: int, expected: int) -> None:
    assert num_held_out(num_images, 0.1) == expected
