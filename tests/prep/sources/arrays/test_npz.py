"""Laws of NumPy's arrays: every image is that of the array however it is packed, and nothing else is taken for one."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexkit.errors import InputError
from alexkit.prep.images import decode_rgb
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.arrays import npy, rows, unpacked
from alexkit.prep.sources.inputs import SourceSplit

from .written import drawn

LABELS = [3, 0, 1, 1]


def medmnist(*shape: int) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for seed, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"] = drawn(4, *shape, seed=seed)
        arrays[f"{split}_labels"] = np.array(LABELS, np.uint8).reshape(-1, 1)
    return arrays


def rows_of(split: SourceSplit) -> dict[str, bytes]:
    return {image.name: decode_rgb(image.read()).tobytes() for image in split.images}


def rows_in(images: Any, split: str) -> dict[str, bytes]:
    rgb = images if images.ndim == 4 and images.shape[3] == 3 else np.stack([images.reshape(images.shape[:3])] * 3, -1)
    return {f"{label}/{split}-{row:06}": rgb[row].tobytes() for row, label in enumerate(LABELS)}


@pytest.mark.parametrize("how", ["packed", "stored", "unzipped", "fortran", "unzipped fortran"])
@pytest.mark.parametrize("shape", [(28, 30), (28, 30, 3), (28, 30, 1)])
def test_every_image_is_that_of_the_array(tmp_path: Path, how: str, shape: tuple[int, ...]) -> None:
    arrays, source = medmnist(*shape), tmp_path / "pathmnist.npz"
    ordered = {name: np.asfortranarray(array) if "fortran" in how else array for name, array in arrays.items()}
    (np.savez_compressed if how == "packed" else np.savez)(source, **ordered)
    if "unzipped" in how:
        zipfile.ZipFile(source).extractall(tmp_path / "pathmnist")
        source = tmp_path / "pathmnist"
    splits = open_source(source).splits
    assert [split.name for split in splits] == ["train", "val", "test"]
    for split in splits:
        assert rows_of(split) == rows_in(arrays[f"{split.name}_images"], split.name)
        assert [entry.id for entry in split.classes] == ["0", "1", "2", "3"]


def test_a_fortran_ordered_array_that_a_process_cannot_keep_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_UNPACKED_BYTES", 1000)
    images = drawn(4, 28, 28)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=LABELS)
    assert len(open_source(tmp_path / "mnist.npz").splits[0].images) == 4
    np.savez(tmp_path / "mnist.npz", x_train=np.asfortranarray(images), y_train=LABELS)
    with pytest.raises(
        InputError, match=r"mnist\.npz: a Fortran-ordered array of 3,136 bytes, .*numpy\.ascontiguousarray"
    ):
        open_source(tmp_path / "mnist.npz")


def test_the_arrays_of_keras_are_read(tmp_path: Path) -> None:
    images = drawn(4, 28, 28)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=LABELS, x_test=images, y_test=LABELS, more=np.zeros(3))
    found = open_source(tmp_path / "mnist.npz")
    assert [(split.name, rows_of(split)) for split in found.splits] == [
        (name, rows_in(images, name)) for name in ("train", "test")
    ]
    assert found.passed_over == (f"arrays that are not images or labels of a split: {tmp_path / 'mnist.npz'}: more",)


def test_the_files_of_kmnist_are_read(tmp_path: Path) -> None:
    images = drawn(4, 28, 28)
    for split in ("train", "test"):
        np.savez_compressed(tmp_path / f"k49-{split}-imgs.npz", images)
        np.savez_compressed(tmp_path / f"k49-{split}-labels.npz", np.array(LABELS, np.uint8))
    train, test = open_source(tmp_path).splits
    assert rows_of(train) == rows_in(images, "k49-train") and rows_of(test) == rows_in(images, "k49-test")


def test_arrays_beside_images_are_not_taken_for_the_source(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/1.jpg").touch()
    np.save(tmp_path / "train_images.npy", drawn(4, 28, 28))
    np.save(tmp_path / "train_labels.npy", LABELS)
    assert [image.name for image in open_source(tmp_path).splits[0].images] == ["cat/1.jpg"]
    found = open_source(tmp_path, SourceOptions(layout="npz"))
    assert rows_of(found.splits[0]) == rows_in(drawn(4, 28, 28), "train")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"train_images": np.zeros((4, 8, 8), np.float32)},
            "'train_images.npy': <f4 of shape .*expected images: uint8",
        ),
        ({"train_images": np.zeros((4, 8, 8, 8), np.uint8)}, r"shape \(4, 8, 8, 8\); expected images"),
        ({"train_images": np.zeros((0, 8, 8), np.uint8)}, "no images"),
        ({"train_images": np.array([None] * 4)}, "an array of objects, expected numbers"),
        (
            {"train_labels": np.zeros((4, 14), np.uint8)},
            r"labels of shape \(4, 14\); .* as in ChestMNIST, are not read",
        ),
        ({"train_labels": np.zeros(3, np.uint8)}, "3 labels for 4 images"),
        ({"train_labels": np.zeros(4)}, "labels of type <f8, expected integers"),
        ({"train_labels": np.array([-1, 0, 1, 2])}, "image 0: label -1; expected a class index"),
    ],
)
def test_other_arrays_are_refused_by_name(tmp_path: Path, arrays: dict[str, Any], words: str, packed: bool) -> None:
    right = {"train_images": drawn(4, 8, 8), "train_labels": np.array(LABELS)}
    (np.savez_compressed if packed else np.savez)(tmp_path / "a.npz", **{**right, **arrays})
    with pytest.raises(InputError, match=words):
        open_source(tmp_path / "a.npz")


def test_a_file_of_other_arrays_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=np.zeros(3), train_images_mean=np.zeros(3))
    with pytest.raises(InputError, match="arrays features, train_images_mean; expected train_images and train_labels"):
        open_source(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"holds NumPy arrays \(a.npz\); pass the file itself as SOURCE"):
        open_source(tmp_path)


def test_images_without_labels_need_the_option(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=drawn(4, 8, 8))
    with pytest.raises(InputError, match="images without labels"):
        open_source(tmp_path / "a.npz")
    (split,) = open_source(tmp_path / "a.npz", SourceOptions(unlabeled=True)).splits
    assert len(split.images) == 4


def test_test_images_without_labels_are_left_out_as_in_other_layouts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=drawn(4, 8, 8), y_train=np.array(LABELS), x_test=drawn(2, 8, 8))
    found = open_source(tmp_path / "a.npz")
    assert [split.name for split in found.splits] == ["train"]
    assert any(
        note.startswith(f"left out: test of {tmp_path / 'a.npz'}: images without labels") for note in found.notes
    )
    stored = open_source(tmp_path / "a.npz", SourceOptions(unlabeled=True)).splits
    assert [(split.name, len(split.images)) for split in stored] == [("train", 4), ("test", 2)]


def test_validation_images_without_labels_are_not_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=drawn(4, 8, 8), y_train=np.array(LABELS), x_val=drawn(2, 8, 8))
    with pytest.raises(InputError, match=r"a\.npz: images without labels"):
        open_source(tmp_path / "a.npz")


@pytest.mark.parametrize("dtype", ["<f1", "|b4", "<b8", "<i3", "<c8"])
def test_impossible_types_are_refused(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "x_train.npy", drawn(4, 8, 8))
    data = (tmp_path / "x_train.npy").read_bytes()
    (tmp_path / "x_train.npy").write_bytes(data.replace(b"'|u1'", f"'{dtype}'".encode()))
    with pytest.raises(InputError, match=r"x_train.npy: an array of .*, expected numbers"):
        open_source(tmp_path)


@pytest.mark.parametrize("other", ["valid_images", "x_val", "X_validation"])
def test_two_arrays_of_images_of_one_split_are_refused(tmp_path: Path, other: str) -> None:
    arrays = medmnist(8, 8) | {other: drawn(2, 8, 8)}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(
        InputError, match=rf"'val_images.npy': images of the val split, and so are those in {other}; keep"
    ):
        open_source(tmp_path / "a.npz")
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    with pytest.raises(InputError, match=rf"val_images.npy: images of the val split, and so are those in {other}.npy"):
        open_source(tmp_path)


def listed_as(offset: int, content: bytes) -> Callable[[bytearray], None]:
    """A change of what the file lists of its first array."""

    def change(file: bytearray) -> None:
        at = file.index(b"PK\1\2") + offset
        file[at : at + len(content)] = content

    return change


@pytest.mark.parametrize(
    ("packed", "change", "words"),
    [
        (True, listed_as(16, bytes(4)), r"damaged \(wrong size or checksum\)"),
        (True, listed_as(24, struct.pack("<I", 129)), "129 bytes, but its header of 128 bytes promises"),
        (True, listed_as(20, struct.pack("<I", 2**31)), "reaches beyond the end of the file"),
        (False, listed_as(24, struct.pack("<I", 129)), "reaches beyond the end of the file"),
        (False, listed_as(8, b"\1\0"), "is encrypted"),
        (False, listed_as(10, b"\x0c\0"), "not compressed by deflate"),
        (False, listed_as(42, b"\1"), "no member where the file lists it"),
    ],
)
def test_a_damaged_file_is_refused_by_the_array(
    tmp_path: Path, packed: bool, change: Callable[[bytearray], None], words: str
) -> None:
    path = tmp_path / "a.npz"
    (np.savez_compressed if packed else np.savez)(path, train_images=drawn(4, 8, 8), train_labels=np.array(LABELS))
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.npz: 'train_images\.npy'.*{words}"):
        open_source(path)


def test_the_size_of_labels_and_the_number_of_arrays_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "a.npz", train_images=drawn(4, 8, 8), train_labels=np.array(LABELS))
    monkeypatch.setattr(npy, "MAX_LABEL_BYTES", 31)
    with pytest.raises(InputError, match=r"'train_labels.npy': 32 bytes, more than labels may have \(31\)"):
        open_source(tmp_path / "a.npz")
    monkeypatch.setattr(npy, "_MAX_MEMBERS", 1)
    with pytest.raises(InputError, match=r"a.npz: 2 arrays, more than 1"):
        open_source(tmp_path / "a.npz")


def test_an_array_is_unpacked_once_however_many_images_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "a.npz", train_images=drawn(4, 8, 8), train_labels=np.array(LABELS))
    (split,) = open_source(tmp_path / "a.npz").splits
    monkeypatch.setattr(unpacked, "_kept", {})
    calls, unpack = [], unpacked.unpack
    monkeypatch.setattr(unpacked, "unpack", lambda *args: calls.append(args) or unpack(*args))
    assert rows_of(split) == rows_in(drawn(4, 8, 8), "train") and len(calls) == 1


def test_large_packed_arrays_are_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "path.npz", **medmnist(64, 64, 3))
    monkeypatch.setattr(npy, "MAX_UNPACKED_BYTES", 4 * 64 * 64 * 3)
    with pytest.raises(InputError, match=r"unpack it: unzip -d path path.npz, and pass the folder path$"):
        open_source(tmp_path / "path.npz")


def test_a_process_keeps_no_more_than_the_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = medmnist(28, 28)
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    splits = open_source(tmp_path / "a.npz").splits
    monkeypatch.setattr(unpacked, "_kept", {})
    monkeypatch.setattr(unpacked, "MAX_UNPACKED_BYTES", 7000)
    for split in (*splits, *splits):
        assert rows_of(split) == rows_in(arrays[f"{split.name}_images"], split.name)
        assert sum(map(len, unpacked._kept.values())) <= 7000
