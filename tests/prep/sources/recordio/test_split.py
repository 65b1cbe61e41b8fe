"""Laws of RecordIO files as splits: which classes their numbers mean, and what is refused by name."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.build.build import BuildOptions, BuiltSplit, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import SourceOptions, labels, open_source
from alexkit.prep.sources.tars.samples import labeled_samples

from ..records import Record, write_records
from ..trees import put

Labeled = Sequence[tuple[float | Sequence[float], str]]
"""Labels and names."""


def write(path: Path, images: Labeled, *, has_names: bool = True) -> Path:
    records = [Record(name.encode(), label, 10 + i) for i, (label, name) in enumerate(images)]
    write_records(path, records, [name for _, name in images] if has_names else None)
    return path


def found_in(folder: Path) -> dict[str, list[str]]:
    """The class ids and the names of the images of every split."""
    source = open_source(folder)
    found = {split.name: [image.name for image in split.images] for split in source.splits}
    return {"classes": [entry.id for entry in source.splits[0].classes], **found}


def build(path: Path, out: Path) -> tuple[BuiltSplit, ...]:
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=1)
    return build_shards(open_source(path), out, options, on_split=lambda split: lambda done, num_bad: None)


TWO: Labeled = [(1, "dog/2.jpg"), (0, "cat/1.jpg"), (1, "dog/0.jpg")]
CLASSES, OF_TWO = ["cat", "dog"], ["cat/1.jpg", "dog/0.jpg", "dog/2.jpg"]


@pytest.mark.parametrize("before", ["", "train/", "data/all/"])
@pytest.mark.parametrize("after", ["", "images/"])
def test_the_list_names_classes_and_images_as_class_folders_would(tmp_path: Path, before: str, after: str) -> None:
    images = [(label, f"{before}{name.replace('/', f'/{after}')}") for label, name in TWO]
    write(tmp_path / "train.rec", images)
    assert found_in(tmp_path) == {"classes": CLASSES, "train": OF_TWO}


def test_a_list_that_was_written_on_windows_is_read(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", [(label, name.replace("/", "\\")) for label, name in TWO])
    assert found_in(tmp_path) == {"classes": CLASSES, "train": OF_TWO}


def test_numbers_stay_as_they_are_if_folders_sort_otherwise(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", [(0, "b/1.jpg"), (3, "a/2.jpg")])
    assert found_in(tmp_path) == {"classes": ["b", "1", "2", "a"], "train": ["b/1.jpg", "a/2.jpg"]}


@pytest.mark.parametrize(
    "images",
    [
        [(0, "1.jpg"), (1, "2.jpg")],
        [(0, "a/1.jpg"), (1, "a/2.jpg")],
        [(0, "a/1.jpg"), (0, "b/2.jpg"), (1, "c/3.jpg")],
        [(0, "train/1.jpg"), (1, "val/2.jpg")],
    ],
)
def test_folders_that_are_no_classes_only_name_the_files(tmp_path: Path, images: Labeled) -> None:
    write(tmp_path / "train.rec", images)
    assert found_in(tmp_path)["classes"] == ["0", "1"]
    assert found_in(tmp_path)["train"] == [f"{label}/{name.rpartition('/')[2]}" for label, name in images]


def test_without_names_classes_are_numbers_and_images_are_named_by_position(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", TWO, has_names=False)
    names = ["0/train-0000001", "1/train-0000000", "1/train-0000002"]
    assert found_in(tmp_path) == {"classes": ["0", "1"], "train": names}


@pytest.mark.parametrize("name", ["synset.txt", "classes.txt", "labels.txt"])
@pytest.mark.parametrize("folder", ["", "train/"])
def test_a_file_of_classes_names_the_numbers(tmp_path: Path, name: str, folder: str) -> None:
    write(tmp_path / folder / "train.rec", [(1, "x"), (0, "y")], has_names=False)
    (tmp_path / name).write_text("n00000001 tench, Tinca tinca\nn00000002 goldfish\nn00000003 shark\n\n")
    classes = open_source(tmp_path).splits[0].classes
    assert [(entry.id, entry.name) for entry in classes] == [
        ("n00000001", "tench, Tinca tinca"),
        ("n00000002", "goldfish"),
        ("n00000003", "shark"),
    ]


def test_a_file_of_classes_gives_readable_names_if_the_list_has_the_ids(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", TWO)
    (tmp_path / "classes.txt").write_text("a cat\na dog\n")
    classes = open_source(tmp_path).splits[0].classes
    assert [(entry.id, entry.name) for entry in classes] == [("cat", "a cat"), ("dog", "a dog")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat\n", r"synset.txt: 1 classes, but train.rec has label 1; is it of other files\?"),
        ("cat\n\ndog\n", "synset.txt, line 2: empty; expected one class per line"),
    ],
)
def test_a_file_of_classes_that_does_not_fit_is_refused(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path / "train.rec", TWO, has_names=False)
    (tmp_path / "synset.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        open_source(tmp_path)


def test_a_file_of_classes_in_another_order_than_the_list_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", TWO)
    (tmp_path / "synset.txt").write_text("dog\ncat\n")
    with pytest.raises(InputError, match=r"synset.txt, line 1: 'dog', but label 0 of train.rec is 'cat' by the paths"):
        open_source(tmp_path)


def test_a_file_whose_lines_repeat_is_not_one_of_classes(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", TWO, has_names=False)
    (tmp_path / "labels.txt").write_text("1\n0\n1\n")
    source = open_source(tmp_path)
    assert [entry.id for entry in source.splits[0].classes] == ["0", "1"]
    assert any("labels.txt: not used, since its lines repeat" in note for note in source.notes)


@pytest.mark.parametrize(
    "names",
    [
        ("train.rec", "val.rec"),
        ("imagenet1k-train.rec", "imagenet1k-val.rec"),
        ("train_rec/a.rec", "val_rec/b.rec"),
        ("train/data.rec", "val/data.rec"),
        ("rec/train.rec", "rec/valid.rec"),
        ("data/train_480_q90.rec", "data/validation_480_q90.rec"),
        ("tmp_train_0.rec", "tmp_val_0.rec"),
    ],
)
def test_splits_are_named_by_files_or_folders(tmp_path: Path, names: tuple[str, str]) -> None:
    write(tmp_path / names[0], TWO)
    write(tmp_path / names[1], [(1, "9.jpg")])  # a number of the training set's table, as in Caffe's lists
    assert found_in(tmp_path) == {"classes": CLASSES, "train": OF_TWO, "val": ["dog/9.jpg"]}
    assert not open_source(tmp_path).passed_over


def test_parts_of_a_split_share_one_table(tmp_path: Path) -> None:
    write(tmp_path / "tmp_train_0.rec", [(0, "train/cat/1.jpg")])
    write(tmp_path / "tmp_train_1.rec", [(1, "train/dog/2.jpg"), (0, "train/cat/0.jpg")])
    assert found_in(tmp_path) == {"classes": CLASSES, "train": ["cat/0.jpg", "cat/1.jpg", "dog/2.jpg"]}


def test_files_of_the_same_images_are_not_read_as_one_split(tmp_path: Path) -> None:
    """As im2rec packs them in several sizes."""
    for size_px in (256, 480):
        write(tmp_path / f"train/all_{size_px}.rec", TWO)
    with pytest.raises(InputError, match=r"all_256.lst and \S*all_480.lst list the same images, which would be read"):
        open_source(tmp_path)


def test_files_of_val_may_be_beside_class_folders_of_train(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg")
    write(tmp_path / "val.rec", [(1, "dog/3.jpg")])
    assert found_in(tmp_path)["val"] == ["dog/3.jpg"]
    write(tmp_path / "val.rec", [(1, "cat/3.jpg"), (0, "dog/4.jpg")])
    with pytest.raises(InputError, match=r"label 0 is 'dog' by the paths of its images, but 'cat' in train; a"):
        open_source(tmp_path)


def test_a_number_that_train_does_not_have_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", TWO)
    write(tmp_path / "val.rec", [(2, "x")], has_names=False)
    with pytest.raises(InputError, match=r"val\.rec: the image at byte 32: label 2; expected a class index, 0 to 1"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ([2.0, 5.0, 0.1, 0.2, 0.9], r"\(id 10\) has 5 labels \(2, 5, 0.1, 0.2, …\), as for object detection"),
        ([0, 1], r"has 2 labels \(0, 1\)"),
        (0.5, "has label 0.5; expected the number of a class"),
        (float("nan"), "has label nan"),
        (float("inf"), "has label inf"),
        (-2, "label -2; expected a class index"),
        (100_000, "label 100000; expected a class index, 0 to 99999"),
    ],
)
def test_what_is_no_class_is_refused_by_the_byte(tmp_path: Path, label: float | list[float], words: str) -> None:
    write(tmp_path / "train.rec", [(label, "x"), (0, "y")], has_names=False)
    with pytest.raises(InputError, match=rf"train\.rec: the (record|image) at byte .*{words}"):
        open_source(tmp_path)


def test_one_label_in_a_list_of_labels_is_a_label(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", [([label], name) for label, name in TWO])
    assert found_in(tmp_path)["train"] == OF_TWO


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("10\t1\tdog/2.jpg\n", r"the record at byte \d+ has id 11, .* which|id 11, which train.lst does not list"),
        ("10\t0\tdog/2.jpg\n", r"\(id 10\) has label 1, but train.lst lists it with 0; is that the list of another"),
        ("10\tdog/2.jpg\n", r"train.lst, line 1: '10\\tdog/2.jpg'; expected INDEX, LABEL and PATH"),
        ("x\t1\tdog/2.jpg\n", r"train.lst, line 1: 'x\\t1"),
        ("10\t1\ta.jpg\n10\t1\tb.jpg\n", r"train.lst, line 2: its index is listed before; list every image once"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path: Path, lines: str, words: str) -> None:
    write(tmp_path / "train.rec", TWO)
    (tmp_path / "train.lst").write_text(lines)
    with pytest.raises(InputError, match=words):
        open_source(tmp_path)


def test_listed_images_that_were_not_packed_are_counted(tmp_path: Path) -> None:
    """im2rec leaves out what it cannot read."""
    write(tmp_path / "train.rec", TWO)
    with (tmp_path / "train.lst").open("a") as file:
        file.write("99 1.0 dog/bad.jpg\n")
    assert any("images of train.lst that are not in train.rec: " in line for line in open_source(tmp_path).passed_over)


@pytest.mark.parametrize(("split", "label"), [("test", -1), ("test", 0), ("train", -1)])
def test_images_without_labels_are_left_out_or_stored_as_in_other_layouts(
    tmp_path: Path, split: str, label: float
) -> None:
    write(tmp_path / "train.rec", TWO)
    write(tmp_path / f"{split}.rec", [(label, "1.jpg"), (label, "2.jpg")])
    if split == "train":
        with pytest.raises(InputError, match=r"no image has a label \(all are -1\); pass --unlabeled"):
            open_source(tmp_path)
    else:
        (note,) = open_source(tmp_path).notes
        assert note.startswith("left out: ") and "pass --unlabeled" in note
    stored = open_source(tmp_path, SourceOptions(unlabeled=True)).splits[-1]
    assert stored.images_per_class() == {"unlabeled": 2}


def test_labeled_and_unlabeled_images_are_not_mixed(tmp_path: Path) -> None:
    write(tmp_path / "train.rec", [(0, "1.jpg"), (-1, "2.jpg")])
    with pytest.raises(InputError, match=r"1 of 2 images have no label \(-1\)"):
        open_source(tmp_path)


def write_faces(path: Path, *, num_stated: int = 4, first: bool) -> None:
    images = [Record(b"one", [0, 0], 1), Record(b"two", 0, 2), Record(b"three", [2, 1], 3)]
    head, people = Record(b"", [num_stated, 6], 0), [Record(b"", [1, 3], 4), Record(b"", [3, 4], 5)]
    write_records(path, [head, *images, *people] if first else [*images, head, *people])
    path.with_name("property").write_text("3,112,112\n")


@pytest.mark.parametrize("first", [True, False])
def test_sets_of_faces_are_read(tmp_path: Path, first: bool) -> None:
    write_faces(tmp_path / "train.rec", first=first)
    source = open_source(tmp_path)
    (split,) = source.splits
    assert [(image.label, image.read()) for image in split.images] == [(0, b"one"), (0, b"two"), (2, b"three")]
    assert split.images_per_class() == {"0": 2, "1": 0, "2": 1}
    assert any(line.startswith("records of InsightFace without an image: 3, ") for line in source.passed_over)
    assert not any("property" in line for line in source.passed_over)


def test_a_set_of_faces_that_was_shuffled_has_its_classes_from_property(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without record 0, and with more classes than numbers without names may be."""
    monkeypatch.setattr(labels, "MAX_UNNAMED_CLASSES", 10)
    write(tmp_path / "train.rec", [(0, "x"), (15, "y")], has_names=False)
    with pytest.raises(InputError, match="label 15; expected a class index, 0 to 9"):
        open_source(tmp_path)
    (tmp_path / "property").write_text("20,112,112")
    classes = open_source(tmp_path).splits[0].classes
    assert len(classes) == 20 and classes[-1].id == "19"


def test_a_set_of_faces_that_lacks_some_is_refused(tmp_path: Path) -> None:
    write_faces(tmp_path / "train.rec", first=True, num_stated=5)
    with pytest.raises(InputError, match="holds 3 images, but its record 0, as of InsightFace, states 4; get the file"):
        open_source(tmp_path)


def test_a_damaged_image_is_quarantined_and_the_others_are_stored(
    tmp_path: Path, draw_source: Callable[..., Path]
) -> None:
    paths = sorted(draw_source(splits=()).rglob("*.JPEG"))
    ids = sorted({path.parent.name for path in paths})
    records = [Record(path.read_bytes(), ids.index(path.parent.name), i) for i, path in enumerate(paths)]
    source = tmp_path / "rec"
    offsets = write_records(source / "train.rec", records, [f"{path.parent.name}/{path.name}" for path in paths])
    content = bytearray((source / "train.rec").read_bytes())
    content[offsets[1]] ^= 1
    content[offsets[3] + 40 : offsets[3] + 1000] = bytes(960)
    (source / "train.rec").write_bytes(content)
    (built,) = build(source, tmp_path / "out")
    bad = {one.source: one.reason for one in built.shard_set.manifest.quarantined}
    assert set(bad) == {f"{path.parent.name}/{path.name}" for path in (paths[1], paths[3])}
    assert f"no record at byte {offsets[1]}: found" in bad[f"{paths[1].parent.name}/{paths[1].name}"]
    stored = [sample for tar in sorted((tmp_path / "out/train").glob("*.tar")) for sample in labeled_samples(tar)]
    assert len(stored) == len(paths) - 2


def test_a_property_that_states_millions_of_classes_is_refused(tmp_path: Path) -> None:
    """A table of them would not fit into memory."""
    write(tmp_path / "train.rec", [(0, "x")], has_names=False)
    (tmp_path / "property").write_text("16000000,112,112")
    with pytest.raises(InputError, match=r"property: states 16,000,000 classes, more than there are images \(1\)"):
        open_source(tmp_path)


def test_the_list_of_a_set_of_faces_is_passed_over(tmp_path: Path) -> None:
    """Its lines are of another form than those of im2rec: whether the face is aligned, path, label."""
    write_faces(tmp_path / "train.rec", first=True)
    (tmp_path / "train.lst").write_text("1\t/faces/a/1.jpg\t0\n1\t/faces/a/2.jpg\t0\n1\t/faces/b/3.jpg\t2\n")
    source = open_source(tmp_path)
    assert len(source.splits[0].images) == 3
    assert any(line.startswith("lists of sets of faces: ") for line in source.passed_over)
