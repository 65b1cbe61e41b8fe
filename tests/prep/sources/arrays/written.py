"""Writes the files of CIFAR and MNIST byte by byte, as their authors' programs did, from NumPy's arrays."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
APPENDED_TOGETHER = 100
"""Items of a list that a pickle appends at once; Python's have 1000."""
NAMES_10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def drawn(count: int, *shape: int, seed: int = 0) -> Images:
    """Images of noise, (count, *shape)."""
    return np.random.default_rng([seed, count]).integers(0, 256, (count, *shape), np.uint8)


def planes(image_HWC: Images) -> bytes:
    return b"".join(bytes(image_HWC[y, x, c] for y in range(32) for x in range(32)) for c in range(3))


def records(images: Images, *labels: Sequence[int]) -> bytes:
    """CIFAR's binary version: the labels of an image, then its planes."""
    rows = zip(images, *labels, strict=True)
    return b"".join(bytes(of_image) + planes(image) for image, *of_image in rows)


class Pickled:
    """What Python 2's cPickle writes with protocol 2: every object but numbers is kept in the memo."""

    def __init__(self) -> None:
        self.memo = 0

    def kept(self, opcodes: bytes) -> bytes:
        self.memo += 1
        return opcodes + (b"q" + bytes([self.memo]) if self.memo < 256 else b"r" + struct.pack("<I", self.memo))

    def text(self, text: str) -> bytes:
        return self.kept(b"U" + bytes([len(text)]) + text.encode())

    def number(self, number: int) -> bytes:
        return b"K" + bytes([number]) if number < 256 else b"M" + struct.pack("<H", number)

    def list_of(self, items: Sequence[int] | Sequence[str]) -> bytes:
        found = self.kept(b"]")
        for first in range(0, len(items), APPENDED_TOGETHER):
            some = items[first : first + APPENDED_TOGETHER]
            found += (
                b"(" + b"".join(self.text(one) if isinstance(one, str) else self.number(one) for one in some) + b"e"
            )
        return found

    def array(self, array: Images, *, fortran: bool) -> bytes:
        found = self.kept(b"cnumpy.core.multiarray\n_reconstruct\n") + self.kept(b"cnumpy\nndarray\n")
        found += self.kept(b"K\x00\x85U\x01b\x87R") + b"(K\x01" + b"".join(map(self.number, array.shape)) + b"\x86"
        found += self.kept(b"cnumpy\ndtype\n") + self.kept(b"U\x02u1K\x00K\x01\x87R")
        found += b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb" + (b"\x88" if fortran else b"\x89")
        return found + b"T" + struct.pack("<i", array.size) + array.tobytes("F" if fortran else "C") + b"tb"

    def dict_of(
        self, items: dict[str, str | Sequence[int] | Sequence[str] | Images], *, fortran: bool = False
    ) -> bytes:
        found = b"\x80\x02" + self.kept(b"}") + b"("
        for key, value in items.items():
            found += self.text(key)
            if isinstance(value, str):
                found += self.text(value)
            elif isinstance(value, np.ndarray):
                found += self.array(value, fortran=fortran)
            else:
                found += self.list_of(value)
        return found + b"u."


def batch(images: Images, labels: dict[str, Sequence[int]], *, fortran: bool = False) -> bytes:
    """CIFAR's Python version."""
    data = np.array([list(planes(image)) for image in images], np.uint8).reshape(len(images), 3072)
    names = [f"leptodactylus_s_{i:06}.png" for i in range(len(images))]
    items = {"batch_label": "training batch 1 of 5", **labels, "data": data, "filenames": names}
    return Pickled().dict_of(items, fortran=fortran)


def put_cifar10(folder: Path, files: dict[str, tuple[Images, Sequence[int]]], *, pickled: bool) -> Path:
    """CIFAR-10's files by name (data_batch_1, …), in either version."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in files.items():
        if pickled:
            (folder / name).write_bytes(batch(images, {"labels": labels}))
        else:
            (folder / f"{name}.bin").write_bytes(records(images, labels))
    if pickled:
        (folder / "batches.meta").write_bytes(Pickled().dict_of({"label_names": NAMES_10}))
    else:
        (folder / "batches.meta.txt").write_text("\n".join(NAMES_10) + "\n\n")
    return folder


def idx_images(images: Images) -> bytes:
    """An IDX file of gray images (N, H, W)."""
    count, height, width = images.shape
    return struct.pack(">IIII", 0x803, count, height, width) + images.tobytes()


def idx_labels(labels: Sequence[int]) -> bytes:
    return struct.pack(">II", 0x801, len(labels)) + bytes(labels)


def put_idx(folder: Path, files: dict[str, tuple[Images, Sequence[int]]]) -> Path:
    """IDX files by what their names begin with: train, t10k, emnist-letters-train."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (images, labels) in files.items():
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx_images(images))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx_labels(labels))
    return folder


NAMES_STL = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def put_stl10(folder: Path, files: dict[str, tuple[Images, Sequence[int]]]) -> Path:
    """STL-10's files by split; pixels column by column."""
    for split, (images, labels) in files.items():
        pixels = (bytes(image[:, x, c]) for image in images for c in range(3) for x in range(96))
        (folder / f"{split}_X.bin").write_bytes(b"".join(pixels))
        if labels:
            (folder / f"{split}_y.bin").write_bytes(bytes(labels))
    (folder / "class_names.txt").write_text("\n".join(NAMES_STL) + "\n")
    return folder
