"""Laws of STL-10's files: columns become rows, labels count from 1, and unlabeled images are left out with a note."""

from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.images import decode_rgb
from alexkit.prep.sources import SourceOptions, open_source

from .written import NAMES_STL, drawn, put_stl10


def test_every_image_is_read_upright_with_its_class(tmp_path: Path) -> None:
    images, labels = drawn(3, 96, 96, 3), [1, 10, 7]
    put_stl10(tmp_path, {"train": (images, labels), "test": (images[:1], [2])})
    (tmp_path / "unlabeled_X.bin").write_bytes(bytes(27648))
    (tmp_path / "fold_indices.txt").write_text("0 1\n")
    found = open_source(tmp_path)
    train, test = found.splits
    rows = {image.name: decode_rgb(image.read()).tobytes() for image in train.images}
    assert rows == {f"{NAMES_STL[label - 1]}/train-{row:06}": images[row].tobytes() for row, label in enumerate(labels)}
    assert len(test.images) == 1 and [entry.id for entry in test.classes] == list(NAMES_STL)
    assert found.passed_over == () and any("unlabeled_X.bin, images without labels" in note for note in found.notes)


def test_unlabeled_images_are_a_source_by_themselves(tmp_path: Path) -> None:
    put_stl10(tmp_path, {"unlabeled": (drawn(2, 96, 96, 3), [])})
    with pytest.raises(InputError, match=r"unlabeled_X.bin: images without labels; .* pass --unlabeled"):
        open_source(tmp_path)
    (split,) = open_source(tmp_path, SourceOptions(unlabeled=True)).splits
    assert split.name == "train" and len(split.images) == 2


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("train_X.bin", lambda data: data[:-1], r"train_X.bin: 82,943 bytes; expected a multiple of 27,648"),
        ("train_X.bin", lambda data: b"", r"train_X.bin: 0 bytes; expected a multiple"),
        ("train_y.bin", lambda data: data[:-1], r"train_y.bin: 2 labels, one byte each, for 3 images"),
        ("train_y.bin", lambda data: data[:-1] + b"\0", r"train_y.bin, image 2: label 0; expected 1 to 10"),
        ("train_y.bin", lambda data: data[:-1] + b"\x0b", r"train_y.bin, image 2: label 11; expected 1 to 10"),
        ("class_names.txt", lambda data: data[:-8] + b"\xff", r"class_names.txt, line 9: not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, change: Callable[[bytes], bytes], words: str) -> None:
    put_stl10(tmp_path, {"train": (drawn(3, 96, 96, 3), [1, 10, 7])})
    (tmp_path / name).write_bytes(change((tmp_path / name).read_bytes()))
    with pytest.raises(InputError, match=words):
        open_source(tmp_path)
