"""Laws of Caffe's LMDB databases: every value is found, pixels are upright RGB, and what is not of Caffe is refused."""

import io
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.lmdb.btree import entries_of

from ..trees import put
from .writing import PAGE, database, datum, write_database


def of_images(*rows: tuple[str, int]) -> dict[bytes, bytes]:
    """Encoded images with these keys and labels."""
    return {key.encode(): datum(f"image of {key}".encode(), label) for key, label in rows}


TRAIN = of_images(("00000000_dog/2.jpg", 1), ("00000001_cat/1.jpg", 0), ("00000002_dog/0.jpg", 1))


@pytest.mark.parametrize("is_first_the_later", [False, True])
@pytest.mark.parametrize("num_entries", [0, 1, 5, 100, 3000])
def test_all_entries_are_found_in_order_of_their_keys(
    tmp_path: Path, num_entries: int, is_first_the_later: bool
) -> None:
    """In trees of up to three levels, with values in their leaves and on pages of their own."""
    rng = random.Random(num_entries)
    content = {b"%08d_%d" % (i, i): rng.randbytes(rng.choice([0, 1, 500, 3000, 9000])) for i in range(num_entries)}
    path = write_database(tmp_path, content)
    file = path.read_bytes()
    if is_first_the_later:  # of the two meta pages
        file = file[PAGE : 2 * PAGE] + file[:PAGE] + file[2 * PAGE :]
        path.write_bytes(file)
    found = [(one.key, file[one.offset : one.offset + one.num_bytes]) for one in entries_of(path)]
    assert found == sorted(content.items())


@pytest.mark.parametrize(
    "names",
    [
        ("ilsvrc12_train_lmdb", "ilsvrc12_val_lmdb"),
        ("train_db", "val_db"),
        ("train", "val"),
        ("train.lmdb", "val.lmdb"),
    ],
)
@pytest.mark.parametrize("are_files", [False, True])
def test_splits_are_named_by_folders_or_files_and_classes_by_the_paths_in_keys(
    tmp_path: Path, names: tuple[str, str], are_files: bool
) -> None:
    for name, content in zip(names, (TRAIN, of_images(("00000000_9.jpg", 1))), strict=True):
        if are_files:
            (tmp_path / Path(name).with_suffix(".lmdb")).write_bytes(database(content))
            (tmp_path / f"{Path(name).with_suffix('.lmdb')}-lock").touch()
        else:
            write_database(tmp_path / name, content)
    source = open_source(tmp_path)
    train, val = source.splits
    assert [image.name for image in train.images] == ["cat/1.jpg", "dog/0.jpg", "dog/2.jpg"]
    assert next(image.read() for image in train.images) == b"image of 00000001_cat/1.jpg"
    assert [(image.name, image.label) for image in val.images] == [("dog/9.jpg", 1)]
    assert not source.passed_over and source.notes == ("val: 1 of 2 classes have no images: cat",)


def pixels(content: bytes) -> list[list[list[int]]]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("key", "is_bgr"), [("00000000_cat/1.jpg", True), ("00000000_1.jpg", True), ("00000000_0", True), ("00000", False)]
)
def test_pixels_are_read_as_rgb(tmp_path: Path, key: str, is_bgr: bool) -> None:
    """`convert_imageset` and DIGITS store BGR, `convert_cifar_data` RGB."""
    rgb_HWC = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    data = (rgb_HWC[..., ::-1] if is_bgr else rgb_HWC).transpose(2, 0, 1).tobytes()
    write_database(tmp_path, {key.encode(): datum(data, 0, (3, 32, 32)), b"99999_cat/g": datum(bytes(6), 0, (1, 2, 3))})
    images = {image.name.rpartition("/")[2]: image for image in open_source(tmp_path).splits[0].images}
    gray = images.pop("g")
    (image,) = images.values()
    assert pixels(image.read()) == rgb_HWC.tolist()
    assert pixels(gray.read()) == [[0, 0, 0], [0, 0, 0]]


def test_keys_without_paths_give_names_of_keys(tmp_path: Path) -> None:
    content = {b"%08d" % i: datum(bytes(784), 7 * i, (1, 28, 28)) for i in (0, 1)}
    write_database(tmp_path / "mnist_train_lmdb", content)
    (split,) = open_source(tmp_path / "mnist_train_lmdb").splits
    assert [image.name for image in split.images] == ["0/mnist_train_lmdb-00000000", "7/mnist_train_lmdb-00000001"]
    put(tmp_path / "files").joinpath("train.lmdb").write_bytes(database(content))
    (split,) = open_source(tmp_path / "files").splits
    assert [image.name for image in split.images] == ["0/train-00000000", "7/train-00000001"]


def test_databases_of_digits_have_their_classes_in_labels_txt(tmp_path: Path) -> None:
    """Its keys end in the label."""
    write_database(tmp_path / "train_db", of_images(("00000000_1", 1), ("00000001_0", 0)))
    write_database(tmp_path / "val_db", of_images(("00000000_1", 1)))
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    train, val = open_source(tmp_path).splits
    assert [image.name for image in train.images] == ["cat/train_db-00000001_0", "dog/train_db-00000000_1"]
    assert [image.name for image in val.images] == ["dog/val_db-00000000_1"]


@pytest.mark.parametrize("name", ["synset_words.txt", "synsets.txt"])
def test_a_file_of_classes_beside_the_databases_names_them(tmp_path: Path, name: str) -> None:
    write_database(tmp_path / "train_lmdb", of_images(("00000000", 1), ("00000001", 0)))
    write_database(tmp_path / "val_lmdb", of_images(("00000000", 1)))
    (tmp_path / name).write_text("n00000001\nn00000002\n")
    assert [entry.id for entry in open_source(tmp_path).splits[1].classes] == ["n00000001", "n00000002"]


@pytest.mark.parametrize("label", [-1, None])
def test_images_without_labels_need_an_option(tmp_path: Path, label: int | None) -> None:
    write_database(tmp_path, {b"0": datum(b"x", label)})
    with pytest.raises(InputError, match="no image has a label"):
        open_source(tmp_path)
    assert open_source(tmp_path, SourceOptions(unlabeled=True)).splits[0].images_per_class() == {"unlabeled": 1}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\xd8\xff\xe0 a JPEG, as in LSUN",
        b"\x80\x04\x95 a pickle",
        datum(b"", 1, floats=(0.5,)),
        datum(b"abc", 1, (3, 1, 2)),
        datum(b"abcd", 1, (4, 1, 1)),
    ],
)
def test_a_database_of_others_is_refused_as_what_it_is(tmp_path: Path, value: bytes) -> None:
    write_database(tmp_path, {b"1": value})
    with pytest.raises(InputError, match="holds an LMDB database that is not of Caffe"):
        open_source(tmp_path)


def test_a_database_of_caffe_among_class_folders_is_a_data_set_by_itself(tmp_path: Path) -> None:
    put(tmp_path, "cat/1.jpg")
    write_database(tmp_path / "dog", TRAIN)
    with pytest.raises(InputError, match=r"dog: holds an LMDB database of Caffe \(data.mdb\), a data set by itself"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (b"00000001_b/1.jpg", b"\xff\xd8", r"key b'00000001_b/1.jpg' at byte \d+: "),
        (b"00000001_b/1.jpg", datum(b"", 1, floats=(0.5,)), r"holds numbers \(float_data\), not an image"),
        (
            b"00000001",
            datum(bytes(12), 1, (3, 2, 2)),
            r"key '00000001' holds pixels, as RGB or BGR; the order is",
        ),
        (b"00000001_b/1.jpg", datum(b"x", -2), r"image '1.jpg': label -2; expected a class index"),
    ],
)
def test_a_value_that_is_no_image_is_refused_by_its_key(tmp_path: Path, key: bytes, value: bytes, words: str) -> None:
    write_database(tmp_path, {b"00000000_a/0.jpg": datum(b"x", 0), key: value})
    with pytest.raises(InputError, match=rf"data.mdb: .*{words}"):
        open_source(tmp_path)


def test_a_database_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    content = {b"%08d_%d/x" % (i, i % 2): datum(bytes(5000), i % 2) for i in range(200)}
    path = write_database(tmp_path, content)
    whole = path.read_bytes()
    num_pages = len(whole) // PAGE
    path.write_bytes(whole[: (num_pages - 1) * PAGE])
    with pytest.raises(InputError):
        open_source(tmp_path)
    for at, words in ((num_pages - 1, f"page {num_pages - 1} is damaged"), (num_pages - 2, "is damaged")):
        changed = bytearray(whole)
        changed[at * PAGE : at * PAGE + 8] = bytes(8)  # of the root, and of the last leaf
        path.write_bytes(changed)
        with pytest.raises(InputError, match=words):
            list(entries_of(path))
    changed = bytearray(whole)
    struct.pack_into("<Q", changed, PAGE + 16 + 24 + 48 + 32, 201)  # the number of entries
    path.write_bytes(changed)
    with pytest.raises(InputError, match=r"200 entries, but it states 201; it is damaged"):
        list(entries_of(path))


def test_a_value_beyond_the_end_and_several_databases_in_one_are_refused(tmp_path: Path) -> None:
    path = write_database(tmp_path, {b"00000000_a/0.jpg": datum(bytes(5000), 0)})
    whole = path.read_bytes()
    key = whole.index(b"00000000_a/0.jpg")
    for at, layout, value, words in (
        (key + 16, "<Q", len(whole) // PAGE, "a value ends beyond byte .*; it is not complete"),
        (key - 4, "<H", 2, "holds several databases, or several values of a key"),
    ):
        changed = bytearray(whole)
        struct.pack_into(layout, changed, at, value)
        path.write_bytes(changed)
        with pytest.raises(InputError, match=rf"data\.mdb: {words}"):
            list(entries_of(path))


def test_pages_that_lead_to_each_other_are_refused(tmp_path: Path) -> None:
    path = write_database(tmp_path, {b"%08d_a/x" % i: datum(bytes(500), 0) for i in range(100)})
    content = bytearray(path.read_bytes())
    root = len(content) // PAGE - 1
    (first,) = struct.unpack_from("<H", content, root * PAGE + 16)
    struct.pack_into("<H", content, root * PAGE + first, root)
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"page {root} is damaged"):
        list(entries_of(path))
