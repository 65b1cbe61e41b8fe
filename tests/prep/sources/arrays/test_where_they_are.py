"""Laws of where arrays are found: in the folders that downloads make, and elsewhere a message says what to do."""

import zipfile
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions, open_source

from .written import drawn, put_cifar10, put_idx


def put_both(folder: Path) -> Path:
    put_cifar10(folder / "cifar-10-batches-bin", {"data_batch_1": (drawn(1, 32, 32, 3), [0])}, pickled=False)
    put_idx(folder / "MNIST/raw", {"train": (drawn(1, 28, 28), [0])})
    return folder


def test_what_old_versions_of_torchvision_made_is_passed_over(tmp_path: Path) -> None:
    put_idx(tmp_path / "MNIST/raw", {"train": (drawn(2, 28, 28), [0, 1])})
    (tmp_path / "MNIST/processed").mkdir()
    (tmp_path / "MNIST/processed/training.pt").touch()
    found = open_source(tmp_path)
    assert len(found.splits[0].images) == 2
    assert found.passed_over == (f"folders without images: {tmp_path / 'MNIST/processed'}",)


def test_one_of_several_data_sets_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"MNIST/raw: holds IDX files \(train-images-idx3-ubyte\), a data set by itself"
    ):
        open_source(put_both(tmp_path))


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-100-binary.tar.gz", "stl10_binary.tar.gz"])
def test_an_archive_is_refused_with_the_command_that_unpacks_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"unpack it in place: tar -xf (cifar-|stl10)\*.tar.gz, and pass that"):
        open_source(tmp_path)
    with pytest.raises(InputError, match=r"unpack it \(tar -xf .*\) and pass the result"):
        open_source(tmp_path / name)


@pytest.mark.parametrize("folder", ["cifar-10-batches-bin", "MNIST/raw"])
def test_arrays_in_a_zip_file_are_refused(tmp_path: Path, folder: str) -> None:
    put_both(tmp_path)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for path in (tmp_path / folder).iterdir():
            archive.write(path, path.name)
    with pytest.raises(InputError, match=r"read unpacked: unpack the zip file, and pass the result"):
        open_source(tmp_path / "archive.zip")


def test_another_layout_is_refused(tmp_path: Path) -> None:
    folder = put_both(tmp_path) / "MNIST/raw"
    with pytest.raises(InputError, match="without --layout or with --layout idx"):
        open_source(folder, SourceOptions(layout="cifar"))
    assert open_source(folder, SourceOptions(layout="idx")).splits


def test_one_file_of_several_is_refused(tmp_path: Path) -> None:
    folder = put_both(tmp_path) / "MNIST/raw"
    with pytest.raises(InputError, match="one of several files of a data set; pass its folder"):
        open_source(folder / "train-images-idx3-ubyte")
