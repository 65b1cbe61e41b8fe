"""Laws of labels that are only numbers: a number means one class, whatever names it, or the source is refused."""

from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source

from ..lmdb.writing import datum, write_database
from ..records import Record, write_records
from ..trees import put

TRAIN = ["ant/1.jpg", "bee/2.jpg", "cat/3.jpg"]


def write(path: Path, names: list[str], labels: list[int] | None = None, *, has_names: bool = True) -> None:
    """A `.rec` of images with these labels, by default their positions."""
    rows = zip(names, labels or range(len(names)), strict=True)
    records = [Record(name.encode(), label, i) for i, (name, label) in enumerate(rows)]
    write_records(path, records, names if has_names else None)


def class_ids(folder: Path) -> list[str]:
    return [entry.id for entry in open_source(folder).splits[0].classes]


@pytest.mark.parametrize("before", ["", "val/"])
@pytest.mark.parametrize("is_lmdb", [False, True])
def test_the_only_class_of_a_later_split_is_the_one_in_its_paths(tmp_path: Path, before: str, is_lmdb: bool) -> None:
    """im2rec numbers the classes that a folder has: its only one is 0."""
    write(tmp_path / "train_rec/train.rec", TRAIN)

    def write_val(label: int) -> None:
        names = [f"{before}cat/4.jpg", f"{before}cat/5.jpg"]
        if is_lmdb:
            write_database(
                tmp_path / "val_lmdb", {f"{i:08d}_{name}".encode(): datum(b"x", label) for i, name in enumerate(names)}
            )
        else:
            write(tmp_path / "val_rec/val.rec", names, [label] * 2)

    write_val(0)
    with pytest.raises(InputError, match=r"label 0 is 'cat' by the paths of its images, but 'ant' in train"):
        open_source(tmp_path)
    write_val(2)
    assert [image.name for image in open_source(tmp_path).splits[1].images] == ["cat/4.jpg", "cat/5.jpg"]


def test_a_later_split_in_one_folder_has_the_classes_of_the_first(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", TRAIN)
    write(tmp_path / "val.rec", ["val/4.jpg", "val/5.jpg"], [2, 2])
    assert [image.name for image in open_source(tmp_path).splits[1].images] == ["cat/4.jpg", "cat/5.jpg"]


@pytest.mark.parametrize("train", ["class folders", "records with a list", "records with a file"])
def test_a_file_of_classes_of_a_later_split_in_another_order_is_refused(tmp_path: Path, train: str) -> None:
    if train == "class folders":
        put(tmp_path / "train", *TRAIN)
    else:
        write(tmp_path / "train/a.rec", TRAIN, has_names=train == "records with a list")
    if train == "records with a file":
        put(tmp_path / "train").joinpath("labels.txt").write_text("ant\nbee\ncat\n")
    write(tmp_path / "val/b.rec", ["x", "y"], [0, 1], has_names=False)
    (tmp_path / "val/labels.txt").write_text("cat\nbee\nant\n")
    with pytest.raises(InputError, match=r"val/labels.txt, line 1: 'cat', but label 0 of b.rec is 'ant' in train"):
        open_source(tmp_path)
    (tmp_path / "val/labels.txt").write_text("ant\nbee\ncat\n")
    assert [image.name for image in open_source(tmp_path).splits[1].images] == ["ant/b-0000000", "bee/b-0000001"]


@pytest.mark.parametrize("lines", ["an ant\na bee\na cat\n", "an ant\na bee\na cat\na dog\n"])
def test_a_file_may_name_more_classes_than_there_are_paths(tmp_path: Path, lines: str) -> None:
    """The ids are those of class folders, in all splits."""
    write(tmp_path / "train.rec", TRAIN)
    write(tmp_path / "val.rec", TRAIN)
    (tmp_path / "classes.txt").write_text(lines)
    train, val = open_source(tmp_path).splits
    assert train.classes == val.classes
    assert [(entry.id, entry.name) for entry in train.classes][:3] == [
        ("ant", "an ant"),
        ("bee", "a bee"),
        ("cat", "a cat"),
    ]


@pytest.mark.parametrize("fraction", [None, 0.5])
def test_a_file_of_classes_may_be_around_the_only_folder(tmp_path: Path, fraction: float | None) -> None:
    content = {f"{i:08d}": datum(b"x", label) for i, label in enumerate((1, 0, 1, 0))}
    write_database(tmp_path / "train_lmdb", {key.encode(): value for key, value in content.items()})
    (tmp_path / "synset_words.txt").write_text("n00000001 ant\nn00000002 bee\n")
    splits = open_source(tmp_path, SourceOptions(val_fraction=fraction)).splits
    assert [entry.id for entry in splits[-1].classes] == ["n00000001", "n00000002"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["0:ant", "1:bee", "2:cat"], ["ant", "bee", "cat"]),
        (["0 ant", "1\tbee", "2, cat"], ["ant", "bee", "cat"]),
        (["0 n00000001 ant", "1 n00000002 bee", "2 n00000003 cat"], ["n00000001", "n00000002", "n00000003"]),
        (["1 ant", "2 bee", "3 cat"], ["1 ant", "2 bee", "3 cat"]),
        (["0", "1", "2"], ["0", "1", "2"]),
        (["0 ant", "bee", "2 cat"], ["0 ant", "bee", "2 cat"]),
    ],
)
def test_numbers_from_0_are_no_part_of_a_class(tmp_path: Path, lines: list[str], expected: list[str]) -> None:
    write(tmp_path / "train.rec", TRAIN, has_names=False)
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    assert class_ids(tmp_path) == expected


def test_a_list_of_images_is_no_file_of_classes(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", TRAIN, has_names=False)
    (tmp_path / "labels.txt").write_text("1.jpg 0\n2.jpg 1\n3.jpg 2\n")
    assert class_ids(tmp_path) == ["0", "1", "2"]
    assert any(
        "labels.txt: not used, since its lines are names of images" in note for note in open_source(tmp_path).notes
    )
