"""Laws of CIFAR's batches: every pixel and label is that of the file, in both versions, and a damaged file is named."""

import hashlib
import tarfile
from pathlib import Path

import numpy as np
import pytest

from alexkit.errors import InputError
from alexkit.prep import PixelOptions
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.images import decode_rgb
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.inputs import SourceSplit

from .written import NAMES_10, Images, Pickled, batch, drawn, put_cifar10, records

FINE, COARSE = [f"fine_{i:02}" for i in range(100)], [f"coarse_{i}" for i in range(20)]


def files_of_10(num_train: int = 5) -> dict[str, tuple[Images, list[int]]]:
    names = [*(f"data_batch_{i}" for i in range(1, num_train + 1)), "test_batch"]
    return {
        name: (drawn(4, 32, 32, 3, seed=i), [int(label) for label in drawn(4, seed=i) % 10])
        for i, name in enumerate(names)
    }


def put_cifar100(folder: Path, *, pickled: bool) -> dict[str, tuple[Images, list[int], list[int]]]:
    folder.mkdir()
    files = {
        name: (drawn(5, 32, 32, 3, seed=i), [0, 99, 7, 7, i], [19, 0, 3, i, 3])
        for i, name in enumerate(["train", "test"])
    }
    for name, (images, fine, coarse) in files.items():
        if pickled:
            (folder / name).write_bytes(batch(images, {"fine_labels": fine, "coarse_labels": coarse}))
        else:
            (folder / f"{name}.bin").write_bytes(records(images, coarse, fine))
    if pickled:
        names = {"fine_label_names": FINE, "coarse_label_names": COARSE}
        (folder / "meta").write_bytes(Pickled().dict_of(names))
    else:
        (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n")
        (folder / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")
    return files


def read_all(split: SourceSplit) -> dict[str, tuple[str, bytes]]:
    """The class and the pixels of every image, by its name without the class."""
    return {
        image.name.rpartition("/")[2]: (split.classes[image.label].id, decode_rgb(image.read()).tobytes())
        for image in split.images
    }


@pytest.mark.parametrize("pickled", [False, True])
def test_every_image_of_cifar10_is_read_as_written(tmp_path: Path, pickled: bool) -> None:
    files = files_of_10()
    train, test = open_source(put_cifar10(tmp_path / "set", files, pickled=pickled)).splits
    found = {**read_all(train), **read_all(test)}
    expected = {
        f"{name}-{row:06}": (NAMES_10[labels[row]], images[row].tobytes())
        for name, (images, labels) in files.items()
        for row in range(4)
    }
    assert found == expected and (len(train.images), len(test.images)) == (20, 4)
    assert [entry.id for entry in train.classes] == list(NAMES_10)


def test_labels_of_a_whole_batch_are_those_of_their_images(tmp_path: Path) -> None:
    """They are read some thousand images at a time."""
    rows = np.zeros((2500, 3073), np.uint8)
    rows[:, 0] = drawn(2500) % 10
    (tmp_path / "data_batch_1.bin").write_bytes(rows.tobytes())
    (split,) = open_source(tmp_path).splits
    found = {image.name.rpartition("-")[2]: image.label for image in split.images}
    assert [found[f"{row:06}"] for row in range(2500)] == rows[:, 0].tolist()


@pytest.mark.parametrize("column", [None, "fine", "coarse", "coarse_labels"])
@pytest.mark.parametrize("pickled", [False, True])
def test_cifar100_is_read_by_fine_or_coarse_labels(tmp_path: Path, pickled: bool, column: str | None) -> None:
    files = put_cifar100(tmp_path / "set", pickled=pickled)
    for split in open_source(tmp_path / "set", SourceOptions(label_column=column)).splits:
        images, fine, coarse = files[split.name]
        labels = [FINE[i] for i in fine] if column in (None, "fine") else [COARSE[i] for i in coarse]
        rows = {f"{split.name}-{i:06}": (labels[i], images[i].tobytes()) for i in range(5)}
        assert read_all(split) == rows


def test_both_versions_give_the_same_shards_without_loss(tmp_path: Path) -> None:
    files, hashes = files_of_10(), []
    for pickled in (False, True):
        folder = put_cifar10(tmp_path / f"cifar{pickled}", files, pickled=pickled)
        options = BuildOptions(pixels=PixelOptions(size_px=32, format="raw"), num_workers=1)
        out = tmp_path / f"out{pickled}"
        train, _ = build_shards(open_source(folder), out, options, on_split=lambda split: lambda done, num_bad: None)
        assert not train.shard_set.manifest.quarantined and not train.shard_set.manifest.num_enlarged
        hashes.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.glob("*/*.tar"))])
        with tarfile.open(out / "train" / train.shard_set.manifest.shards[0].name) as tar:
            stored = {tar.extractfile(member).read() for member in tar if member.name.endswith(".raw")}  # type: ignore[union-attr]
        assert stored == {image.tobytes() for name in list(files)[:5] for image in files[name][0]}
    assert hashes[0] == hashes[1]


def test_an_array_in_the_order_of_fortran_is_read(tmp_path: Path) -> None:
    images = drawn(4, 32, 32, 3)
    (tmp_path / "test_batch").write_bytes(batch(images, {"labels": [0, 1, 2, 1]}, fortran=True))
    (split,) = open_source(tmp_path).splits
    assert [pixels for _, (_, pixels) in sorted(read_all(split).items())] == [image.tobytes() for image in images]


def test_a_missing_batch_and_missing_names_are_noted(tmp_path: Path) -> None:
    folder = put_cifar10(tmp_path / "set", files_of_10(3), pickled=False)
    (folder / "batches.meta.txt").unlink()
    found = open_source(folder)
    assert f"{folder}: data_batch_4.bin, data_batch_5.bin missing; is the download complete?" in found.notes
    assert f"{folder / 'batches.meta.txt'}: missing, so classes are named by their numbers" in found.notes
    assert any("data_batch_3.bin; CIFAR-10 has 30,000 there" in note for note in found.notes)


@pytest.mark.parametrize(
    ("pickled", "keep", "words"),
    [
        (False, 3073 * 2 - 1, r"data_batch_1.bin: 6,145 bytes; expected a multiple of 3,073"),
        (False, 0, r"data_batch_1.bin: 0 bytes; expected a multiple of 3,073"),
        (True, 8000, r"data_batch_1: ends early, after 8,000 bytes; download cifar-10-python.tar.gz again, or"),
        (True, 0, r"data_batch_1: ends early, after 0 bytes"),
    ],
)
def test_a_truncated_batch_is_refused(tmp_path: Path, pickled: bool, keep: int, words: str) -> None:
    folder = put_cifar10(tmp_path / "set", files_of_10(), pickled=pickled)
    path = folder / ("data_batch_1" if pickled else "data_batch_1.bin")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=words):
        open_source(folder)


def test_labels_and_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = put_cifar10(tmp_path / "set", {"test_batch": (drawn(2, 32, 32, 3), [3, 10])}, pickled=False)
    with pytest.raises(InputError, match=r"test_batch.bin, image 1: label 10; expected a class index, 0 to 9"):
        open_source(folder)
    (folder / "batches.meta.txt").write_text("cat\ndog\ncat\n")
    with pytest.raises(InputError, match=r"batches.meta.txt: names the class 'cat' twice"):
        open_source(folder)
    with pytest.raises(InputError, match=r"--label-column coarse: CIFAR-10 has one label per image"):
        open_source(folder, SourceOptions(label_column="coarse"))


def test_images_that_a_changed_file_lost_are_bad_inputs(tmp_path: Path) -> None:
    folder = put_cifar10(tmp_path / "set", files_of_10(), pickled=False)
    images = open_source(folder).splits[1].images
    (folder / "test_batch.bin").write_bytes(b"")
    with pytest.raises(InputError, match="only 0 bytes, expected 3072 as when the source was listed"):
        images[0].read()


@pytest.mark.parametrize("name", ["data", "data/cifar-10-batches-py"])
def test_the_folder_that_torchvision_downloads_to_is_read(tmp_path: Path, name: str) -> None:
    put_cifar10(tmp_path / "data/cifar-10-batches-py", files_of_10(), pickled=True)
    (tmp_path / "data/cifar-10-python.tar.gz").write_bytes(b"x")
    assert [len(split.images) for split in open_source(tmp_path / name).splits] == [20, 4]


def test_batches_in_a_split_or_among_classes_are_named(tmp_path: Path) -> None:
    put_cifar10(tmp_path / "train", files_of_10(), pickled=True)
    with pytest.raises(InputError, match=r"train: holds CIFAR-10's Python batches \(data_batch_1\), a data set by"):
        open_source(tmp_path)


def test_pixels_are_those_that_numpy_reads(tmp_path: Path) -> None:
    (images, labels) = files_of_10()["data_batch_1"]
    rows = np.frombuffer(records(images, labels), np.uint8).reshape(4, 3073)
    assert np.array_equal(rows[:, 1:].reshape(4, 3, 32, 32).transpose(0, 2, 3, 1), images)
    assert rows[:, 0].tolist() == labels
