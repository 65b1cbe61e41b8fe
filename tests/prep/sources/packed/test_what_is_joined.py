"""Laws of files of many images: which form a split together, what beside them is told, and what is refused."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import Source, SourceOptions, open_source
from alexkit.prep.sources.options import Layout
from alexkit.prep.sources.tfrecords.columns import Columns
from alexkit.prep.sources.tfrecords.rows import Label, read_rows

from ..lmdb.writing import database, datum
from ..records import Record, write_records
from ..tfrecords.writing import write_examples
from ..trees import put

PNG = b"\x89PNG of "


def examples(path: Path, *labels: int) -> None:
    write_examples(path, [{"image": PNG + path.name.encode(), "label": label} for label in labels])


def records(path: Path, *names: str) -> None:
    """The classes are numbered in the order of these names, `CLASS/FILE`."""
    write_records(path, [Record(PNG + name.encode(), label, label) for label, name in enumerate(names)], names)


def counts(source: Source) -> dict[str, int]:
    return {split.name: len(split.images) for split in source.splits}


@pytest.mark.parametrize("end", ["", ".parquet", ".tfrecord"])
def test_one_set_in_files_of_two_divisions_is_not_read_twice(tmp_path: Path, end: str) -> None:
    """As if it was written again, with more files, into the same folder."""
    for total in (2, 4):
        for number in range(total):
            examples(tmp_path / f"train-{number:05d}-of-{total:05d}{end}", 0, 1)
    with pytest.raises(InputError, match=r"files train-…-of-00002 and train-…-of-00004, .* the same images twice"):
        open_source(tmp_path)


def test_files_of_several_names_are_one_split_with_a_note(tmp_path: Path) -> None:
    for name in ("cats", "dogs"):
        examples(tmp_path / f"{name}-00000-of-00001", 0, 1)
    source = open_source(tmp_path)
    assert counts(source) == {"train": 4}
    assert f"{tmp_path / '*'}: files of several names, cats-, dogs-, are read as one split" in source.notes


@pytest.mark.parametrize(("name", "is_told"), [("val", True), ("a_test_0", True), ("train_val", False), ("b", False)])
def test_a_file_named_by_another_split_than_its_folder_is_told(tmp_path: Path, name: str, is_told: bool) -> None:
    for stem in ("a", name):
        records(tmp_path / f"train/{stem}.rec", f"cat/{stem}1.png", f"dog/{stem}2.png")
    source = open_source(tmp_path)
    assert counts(source) == {"train": 4}
    note = f"{tmp_path / 'train/*.rec'}: {name}.rec is read as train; if it is of another split, move it out"
    assert source.notes == ((note,) if is_told else ())


def test_what_begins_like_the_files_of_a_split_but_is_not_read_is_told(tmp_path: Path) -> None:
    examples(tmp_path / "train-00000-of-00001", 0, 1)
    put(tmp_path, "train-00000-of-00001.md5", "train-labels.csv")
    assert open_source(tmp_path).passed_over == (
        f"files that belong to no split: 2, e.g. {tmp_path / 'train-00000-of-00001.md5'}",
    )


def test_only_what_was_not_read_is_told_of_files_beside(tmp_path: Path) -> None:
    for split in ("train", "val"):
        examples(tmp_path / f"{split}/a-00000-of-00001.tfrecord", 0, 1)
        (tmp_path / f"{split}/labels.txt").write_text("0:daisy\n1:rose\n")
    source = open_source(tmp_path)
    assert [one.id for one in source.splits[0].classes] == ["daisy", "rose"]
    assert source.passed_over == ()
    records(tmp_path / "train/b.rec", "cat/1.png", "dog/1.png")
    assert open_source(tmp_path, SourceOptions(layout="tfrecord")).passed_over == (
        f"files beside shards or other files of many images: 2, e.g. {tmp_path / 'train/b.lst'}",
    )


def test_hidden_files_with_the_name_of_a_split_are_not_read(tmp_path: Path) -> None:
    """macOS writes them beside files that it copies."""
    records(tmp_path / "train.rec", "cat/1.png", "dog/1.png")
    put(tmp_path, "._train.rec")
    assert counts(open_source(tmp_path)) == {"train": 2}


def test_a_list_of_files_that_are_not_read_is_told(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg")
    records(tmp_path / "train.rec", "cat/1.png", "dog/1.png")
    assert open_source(tmp_path, SourceOptions(layout="class-folders")).passed_over == (
        f"files that belong to no split: 2, e.g. {tmp_path / 'train.lst'}",
    )


def test_class_folders_of_such_files_are_no_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        examples(tmp_path / f"{name}/x-00000-of-00001", 0, 1)
    with pytest.raises(InputError, match=r"/a: holds files of many images \(x-00000-of-00001\), .*pass it as SOURCE"):
        open_source(tmp_path)


def test_one_such_file_in_a_class_folder_is_passed_over(tmp_path: Path) -> None:
    names = ("a.rec", "a.tfrecord", "a.tfrecord-00000-of-00002", "a-00000-of-00001.parquet")
    put(tmp_path, "cat/1.jpg", "dog/1.jpg", *(f"cat/{name}" for name in names))
    source = open_source(tmp_path)
    assert counts(source) == {"train": 2}
    assert source.passed_over == (
        f"non-image files beside images: 4, e.g. {tmp_path / 'cat/a-00000-of-00001.parquet'}",
    )


def test_class_folders_beside_test_files_alone_are_not_lost(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg", "dog/1.jpg")
    records(tmp_path / "test.rec", "cat/2.png", "dog/2.png")
    with pytest.raises(InputError, match=r"test\*.rec would be read without a training split, but cat and dog hold"):
        open_source(tmp_path)
    assert counts(open_source(tmp_path, SourceOptions(layout="class-folders"))) == {"train": 2}
    (tmp_path / "test.rec").rename(tmp_path / "train.rec")
    (tmp_path / "test.lst").rename(tmp_path / "train.lst")
    (tmp_path / "test.idx").unlink()
    assert counts(open_source(tmp_path)) == {"train": 2}


@pytest.mark.parametrize("name", ["train.rec", "x/train-00000-of-00001", "a.tfrecord", "data.npz"])
def test_such_files_in_a_zip_file_are_refused_with_the_way_out(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(InputError, match="read unpacked: unpack the zip file, and pass the result"):
        open_source(tmp_path / "a.zip")


@pytest.mark.parametrize("layout", ["recordio", "lmdb"])
def test_files_of_one_split_that_number_the_classes_differently_are_refused(tmp_path: Path, layout: Layout) -> None:
    several: Any = (("a", ("cat/1.png", "dog/1.png")), ("b", ("dog/2.png", "cat/2.png")))
    for stem, names in several:
        if layout == "recordio":
            records(tmp_path / f"train/{stem}.rec", *names)
        else:
            rows = {f"{i:08d}_{name}".encode(): datum(PNG, i) for i, name in enumerate(names)}
            put(tmp_path / "train")
            (tmp_path / f"train/{stem}.lmdb").write_bytes(database(rows))
    with pytest.raises(InputError, match=r"label 0 is 'cat' by the paths of one .* but 'dog' by those of another"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["list.csv", "a.npz"])
def test_a_file_that_is_not_of_the_layout_is_refused(tmp_path: Path, name: str) -> None:
    import numpy as np

    put(tmp_path, "1.png")
    (tmp_path / "list.csv").write_text("file_name,label\n1.png,cat\n")
    np.savez(tmp_path / "a.npz", train_images=np.zeros((2, 8, 8), np.uint8), train_labels=np.arange(2))
    with pytest.raises(InputError, match=r"--layout flat, but the source is read as (list|npz); leave the option out"):
        open_source(tmp_path / name, SourceOptions(layout="flat"))


def test_records_of_a_file_are_read_while_they_are_used(tmp_path: Path) -> None:
    """Here, the second is damaged; a file may hold a million of them."""
    examples(tmp_path / "a.tfrecord", 0)
    with (tmp_path / "a.tfrecord").open("ab") as file:
        file.write(bytes(20))
    rows = iter(read_rows(tmp_path / "a.tfrecord", Columns(image="image", label="label")))
    assert next(rows).label == Label(0, None, None)
    with pytest.raises(InputError, match=r"a.tfrecord: the length of the record at byte"):
        next(rows)
