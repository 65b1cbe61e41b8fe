"""Files that TensorFlow 2.21 and TFDS 4.9.10 wrote are read as they read them themselves.

`true/imagenet` has the features of build_imagenet_data.py; `true/expected.json` is what tf.data and tfds found.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source

from .writing import write_examples

TRUE = Path(__file__).parent / "true"
EXPECTED = json.loads((TRUE / "expected.json").read_text())


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("imagenet", "imagenet"),
        ("tensorflow_datasets", "tfds"),
        ("tensorflow_datasets/drawn", "tfds"),
        ("tensorflow_datasets/drawn/1.0.0", "tfds"),
    ],
)
def test_names_labels_and_images_are_those_that_tensorflow_finds(folder: str, name: str) -> None:
    found = open_source(TRUE / folder)
    assert [split.name for split in found.splits] == ["train", "val"]
    for split, called in zip(found.splits, ("train", "validation"), strict=True):
        rows = [[image.name, image.label, hashlib.sha256(image.read()).hexdigest()] for image in split.images]
        assert rows == EXPECTED[f"{name} {called}"]
    assert found.passed_over == ()


def test_synsets_are_class_ids_and_texts_their_names_even_if_two_are_called_alike() -> None:
    classes = open_source(TRUE / "imagenet").splits[0].classes
    assert [(one.id, one.name) for one in classes] == [
        ("n01440764", "tench, Tinca tinca"),
        ("n02012849", "crane"),
        ("n03126707", "crane"),
    ]


def test_classes_of_tfds_are_in_the_order_of_their_table_and_its_unlabeled_test_split_is_left_out() -> None:
    found = open_source(TRUE / "tensorflow_datasets")
    assert [one.id for one in found.splits[0].classes] == ["zebra", "ant"]
    notes = "\n".join(found.notes)
    assert "tensorflow_datasets: read drawn/1.0.0, a data set of TFDS" in notes
    assert "left out: " in notes and "drawn-test.tfrecord-00000-of-00002: no example has a label" in notes
    stored = open_source(TRUE / "tensorflow_datasets", SourceOptions(unlabeled=True)).splits[-1]
    assert (stored.name, len(stored.images)) == ("test", 2)


def test_empty_lines_among_the_names_of_classes_are_refused_and_ignored_at_their_end(tmp_path: Path) -> None:
    """TFDS ignores them anywhere; here, the second class must not become the third."""
    folder = shutil.copytree(TRUE / "tensorflow_datasets/drawn/1.0.0", tmp_path / "drawn")
    (folder / "label.labels.txt").write_text("zebra\n\nant\n")
    with pytest.raises(InputError, match=r"label.labels.txt, line 2: empty; expected one class per line"):
        open_source(folder)
    (folder / "label.labels.txt").write_text("zebra\nant\n\n")
    assert [one.id for one in open_source(folder).splits[0].classes] == ["zebra", "ant"]


def test_floats_and_integers_are_kept_as_they_were_meant(tmp_path: Path) -> None:
    (train, _) = open_source(TRUE / "tensorflow_datasets", SourceOptions(keep=("score", "file_name"))).splits
    assert [[(one.ext, one.read()) for one in image.extras] for image in train.images] == [
        [("file_name.txt", b"0.png"), ("score.json", b"0.0")],
        [("file_name.txt", b"2.png"), ("score.json", b"0.2")],
        [("file_name.txt", b"1.png"), ("score.json", b"0.1")],
        [("file_name.txt", b"3.png"), ("score.json", b"0.3")],
    ]
    (train, _) = open_source(TRUE / "imagenet", SourceOptions(keep=("image/object/bbox/xmin",))).splits
    assert train.images[0].extras[0][:2] == ("image-object-bbox-xmin.json", b"[0.1, 0.2]")


def test_a_feature_that_only_a_late_example_has_is_kept_with_it(tmp_path: Path) -> None:
    rows = [{"image": b"\x89PNG %d" % i, "label": 0, "file_name": f"{i:02d}.png"} for i in range(30)]
    write_examples(tmp_path / "train.tfrecord", [*rows, rows[0] | {"file_name": "30.png", "caption": "late"}])
    (train,) = open_source(tmp_path, SourceOptions(keep=("caption",))).splits
    assert [[one.read() for one in image.extras] for image in train.images][-2:] == [[], [b"late"]]


def test_long_bytes_and_bytes_that_are_no_text_are_kept_as_they_are(tmp_path: Path) -> None:
    masks = [bytes(range(256)), bytes(range(256)) * 300]
    rows = [{"image": b"\x89PNG", "label": 0, "file_name": f"{i}.png", "mask": one} for i, one in enumerate(masks)]
    write_examples(tmp_path / "train.tfrecord", rows)
    (train,) = open_source(tmp_path, SourceOptions(keep=("mask",))).splits
    assert [[(one.ext, one.read()) for one in image.extras] for image in train.images] == [
        [("mask.bin", one)] for one in masks
    ]


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ({"more": ["a", "b"]}, "more holds several values of bytes, which cannot be kept"),
        ({"more": [0] * 2**16}, "more holds 65536 values or more, which cannot be kept"),
        ({"file_name": "x" * 70_000}, "file_name has 70000 bytes; expected a name"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_the_record(tmp_path: Path, feature: dict[str, Any], words: str) -> None:
    write_examples(tmp_path / "train.tfrecord", [{"image": b"\x89PNG", "label": 0, "more": "a"} | feature])
    with pytest.raises(InputError, match=f"the record at byte 0: {words}"):
        open_source(tmp_path, SourceOptions(keep=("more",)))


def test_a_feature_that_no_image_has_cannot_be_kept() -> None:
    with pytest.raises(InputError, match="--keep depth: no image has a member, column or file of that name"):
        open_source(TRUE / "imagenet", SourceOptions(keep=("depth",)))
