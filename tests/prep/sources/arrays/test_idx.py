"""Laws of IDX files: every gray image is read upright as RGB, packed or not, and a damaged file is named."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexkit.errors import InputError
from alexkit.prep.images import decode_rgb
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.arrays import idx

from .written import drawn, put_idx

LABELS = [7, 2, 1, 0, 9]


def put_mnist(folder: Path) -> Path:
    return put_idx(folder, {"train": (drawn(5, 28, 28), LABELS), "t10k": (drawn(5, 28, 28, seed=1), LABELS)})


@pytest.mark.parametrize("packed", ["neither", "both", "alone"])
@pytest.mark.parametrize("source", [".", "MNIST", "MNIST/raw"])
def test_mnist_is_read_as_torchvision_keeps_it(tmp_path: Path, packed: str, source: str) -> None:
    folder = put_mnist(tmp_path / "MNIST/raw")
    for path in list(folder.iterdir()) if packed != "neither" else []:
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        if packed == "alone":
            path.unlink()
    found = open_source(tmp_path / source)
    for split, name, seed in zip(found.splits, ("train", "t10k"), (0, 1), strict=True):
        pixels = {image.name: decode_rgb(image.read()) for image in split.images}
        images = drawn(5, 28, 28, seed=seed)
        assert sorted(pixels) == sorted(f"{label}/{name}-{row:06}" for row, label in enumerate(LABELS))
        for row, label in enumerate(LABELS):
            assert np.array_equal(pixels[f"{label}/{name}-{row:06}"], np.stack([images[row]] * 3, axis=-1))
    assert len(found.splits[0].classes) == 10
    assert any("unpacked beside them: 4" in line for line in found.passed_over) == (packed == "both")


def test_a_file_of_several_streams_is_read_to_its_end(tmp_path: Path) -> None:
    """As pigz and bgzip write it."""
    folder = put_mnist(tmp_path)
    images = folder / "train-images-idx3-ubyte"
    content = images.read_bytes()
    images.unlink()
    images.with_name(f"{images.name}.gz").write_bytes(gzip.compress(content[:999]) + gzip.compress(content[999:]))
    pixels = {image.name: decode_rgb(image.read())[..., 0] for image in open_source(folder).splits[0].images}
    assert np.array_equal([pixels[f"{label}/train-{i:06}"] for i, label in enumerate(LABELS)], drawn(5, 28, 28))


def test_names_with_dots_are_read(tmp_path: Path) -> None:
    folder = put_mnist(tmp_path)
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace("-idx", ".idx"))
    assert [len(split.images) for split in open_source(folder).splits] == [5, 5]


def test_emnist_is_turned_upright_and_its_classes_are_characters(tmp_path: Path) -> None:
    images = drawn(3, 28, 20)
    put_idx(
        tmp_path, {f"emnist-letters-{split}": (images.transpose(0, 2, 1), [2, 1, 2]) for split in ("train", "test")}
    )
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n")
    found = open_source(tmp_path)
    train, test = found.splits
    assert [entry.id for entry in train.classes] == ["A", "B"] and len(test.images) == 3
    rows = {image.name: decode_rgb(image.read())[..., 0] for image in train.images}
    assert np.array_equal(rows["B/emnist-letters-train-000000"], images[0])
    assert np.array_equal(rows["A/emnist-letters-train-000001"], images[1])
    assert f"{tmp_path}: EMNIST's images, which are stored transposed, are turned upright" in found.notes


def test_several_data_sets_in_a_folder_are_refused(tmp_path: Path) -> None:
    images = drawn(1, 28, 28)
    put_idx(tmp_path, {f"emnist-{name}-train": (images, [0]) for name in ("digits", "letters")})
    with pytest.raises(InputError, match=r"several data sets, e.g. emnist-digits-.*, emnist-letters-.*; move those of"):
        open_source(tmp_path)


def test_a_second_test_split_is_not_taken_for_the_first(tmp_path: Path) -> None:
    put_idx(tmp_path, {name: (drawn(2, 8, 8), [0, 1]) for name in ("train", "t10k", "test")})
    with pytest.raises(
        InputError, match=r"several data sets, e.g. t10k-images-idx3-ubyte, test-images-idx3-ubyte; move"
    ):
        open_source(tmp_path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("train-images-idx3-ubyte", lambda data: data[:-1], r"3,935 bytes.*; expected 3,936 for 5 images of 28 x 28"),
        ("train-images-idx3-ubyte", lambda data: data + b"x", r"3,937 bytes.*; expected 3,936 for 5 images of 28 x 28"),
        (
            "train-images-idx3-ubyte",
            lambda data: b"\0\0\r\3" + data[4:],
            "begins with 00 00 0d 03; expected 00 00 08 03",
        ),
        ("train-images-idx3-ubyte", lambda data: data[:9], "begins with 00 00 08 03"),
        ("train-images-idx3-ubyte", lambda data: b"", "nothing"),
        ("train-images-idx3-ubyte", lambda data: data[:4] + bytes(12), r"expected 16 for 0 images"),
        ("train-labels-idx1-ubyte", lambda data: data[:-1], "its size does not fit its 5 labels"),
        ("train-labels-idx1-ubyte", lambda data: data + b"x", "its size does not fit its 5 labels"),
        ("train-labels-idx1-ubyte", lambda data: data[:7] + b"\6" + data[8:], "6 labels, but train-images-idx3-ubyte"),
        ("train-labels-idx1-ubyte", lambda data: b"<htm", "begins with 3c 68 74 6d"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, name: str, change: Callable[[bytes], bytes], words: str, packed: bool
) -> None:
    folder = put_mnist(tmp_path)
    content = change((folder / name).read_bytes())
    (folder / name).unlink()
    (folder / f"{name}.gz" if packed else folder / name).write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match=f"{name}.*{words}"):
        open_source(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b"\0\0\x08\3" + bytes(100))[:-12], "ends before its compressed data do|bytes when unpacked"),
        (b"<html>not found</html>", "damaged compressed data"),
        (gzip.compress(b"\0\0\x08\3" + b"\x7f" * 12), "more than the 268,435,456 .* gunzip --keep train-images"),
    ],
    ids=["cut off", "a page", "a bomb"],
)
def test_packed_files_that_cannot_be_kept_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    folder = put_mnist(tmp_path)
    (folder / "train-images-idx3-ubyte").unlink()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_source(folder)


def test_a_bomb_is_unpacked_no_further_than_its_header_promises(tmp_path: Path) -> None:
    folder = put_mnist(tmp_path)
    images = (folder / "train-images-idx3-ubyte").read_bytes()
    (folder / "train-images-idx3-ubyte").unlink()
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images + bytes(2**24)))
    with pytest.raises(InputError, match="3,937 bytes when unpacked; expected 3,936"):
        open_source(folder)


def test_images_without_labels_are_stored_if_asked(tmp_path: Path) -> None:
    folder = put_mnist(tmp_path)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    found = open_source(folder)
    assert [split.name for split in found.splits] == ["train"]
    assert any(note.startswith("left out:") and "images without labels" in note for note in found.notes)
    _, test = open_source(folder, SourceOptions(unlabeled=True)).splits
    assert [entry.id for entry in test.classes] == ["unlabeled"] and len(test.images) == 5


def test_other_files_are_no_data_set() -> None:
    assert idx.recognize({"train-images-idx1-ubyte", "train-labels-idx1-ubyte", "images.idx3", "a.jpg"}) == []
