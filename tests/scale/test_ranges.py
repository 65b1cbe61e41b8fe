"""Tars, archives and parquet files in a store are read by ranges, never whole, and give the set that a disk gives."""

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_proxy import FaultProxy
from PIL import Image

from alexkit.prep.storage import ObjectStore, StoreUrl

from ..conftest import draw_image
from ..prep.sources.arrays.written import drawn, put_cifar10, put_idx
from ..prep.sources.lmdb.writing import datum, write_database
from ..prep.sources.records import Record, write_records
from ..prep.sources.tfrecords.writing import write_examples

pytestmark = pytest.mark.slow

NUM_IMAGES, SIDE_PX = 24, 320
OPTIONS = ("--size", "32", "--images-per-shard", "8", "--workers", "1")


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(draw_image(number, number % 3, SIDE_PX)).save(file, "JPEG", quality=100, subsampling=0)
    return file.getvalue()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def tar_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            add(archive, name, content)
    return file.getvalue()


def webdataset(folder: Path) -> None:
    for split, numbers in (("train", range(16)), ("val", range(16, NUM_IMAGES))):
        members: dict[str, bytes] = {}
        for i in numbers:
            members |= {f"{i:04}.jpg": jpeg(i), f"{i:04}.cls": b"%d" % (i % 3)}
        (folder / f"{split}-00000.tar").write_bytes(tar_of(members))


def class_tars(folder: Path) -> None:
    (folder / "train").mkdir()
    for label in range(3):
        members = {f"{i}.JPEG": jpeg(i) for i in range(label, NUM_IMAGES, 3)}
        (folder / f"train/n0000000{label}.tar").write_bytes(tar_of(members))


def ilsvrc(folder: Path) -> None:
    inner = {
        f"n0000000{label}.tar": tar_of({f"n0000000{label}_{i}.JPEG": jpeg(i) for i in range(label, NUM_IMAGES, 3)})
        for label in range(3)
    }
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(inner))


def parquet(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    images = pyarrow.array([{"bytes": jpeg(i), "path": f"{i}.jpg"} for i in range(NUM_IMAGES)], kind)
    table = pyarrow.table({"image": images, "label": pyarrow.array([i % 3 for i in range(NUM_IMAGES)])})
    files.write_table(table, folder / "train-00000-of-00001.parquet", row_group_size=8, compression="NONE")


def tfrecords(folder: Path) -> None:
    rows = [{"a": i, "image": jpeg(i), "label": i % 3, "file_name": f"{i}.jpg"} for i in range(NUM_IMAGES)]
    version = folder / "drawn/1.0.0"  # as TFDS has it
    write_examples(version / "drawn-train.tfrecord-00000-of-00001", rows)
    (version / "label.labels.txt").write_text("zebra\nant\ncat\n")
    for name in ("features.json", "dataset_info.json"):
        (version / name).write_text("{}")


def recordio(folder: Path) -> None:
    records = [Record(jpeg(i), i % 3, i) for i in range(NUM_IMAGES)]
    write_records(folder / "train.rec", records, [f"{i % 3}/{i}.jpg" for i in range(NUM_IMAGES)])


def cifar(folder: Path) -> None:
    names = ("data_batch_1", "test_batch")
    files = {name: (drawn(NUM_IMAGES, 32, 32, 3), [i % 3 for i in range(NUM_IMAGES)]) for name in names}
    put_cifar10(folder, files, pickled=True)


def idx(folder: Path) -> None:
    put_idx(folder, {"train": (drawn(NUM_IMAGES, 28, 28), [i % 3 for i in range(NUM_IMAGES)])})
    images = folder / "train-images-idx3-ubyte"
    (folder / f"{images.name}.gz").write_bytes(gzip.compress(images.read_bytes()))
    images.unlink()


def lmdb(folder: Path) -> None:
    write_database(folder, {f"{i:08d}_{i % 3}/{i}.jpg".encode(): datum(jpeg(i), i % 3) for i in range(NUM_IMAGES)})


MAKERS = {
    "webdataset": webdataset,
    "class tars": class_tars,
    "ilsvrc": ilsvrc,
    "parquet": parquet,
    "tfrecords": tfrecords,
    "recordio": recordio,
    "lmdb": lmdb,
    "cifar": cifar,
    "idx": idx,
}
ARRAYS = ("cifar", "idx")
"""Formats whose small files come whole, once for each worker."""


def alexprep(*words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "alexkit.cli.alexprep", *map(str, words)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=200)


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def upload(folder: Path, url: str) -> int:
    """Put a folder into the store; bytes of its largest file."""
    store = ObjectStore(StoreUrl.parse(url))
    for path in folder.rglob("*"):
        if path.is_file():
            store.put_whole(str(path.relative_to(folder)), path)
    return max(path.stat().st_size for path in folder.rglob("*"))


@pytest.mark.parametrize("layout", MAKERS)
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_a_store_gives_the_set_of_a_disk_and_no_file_is_copied(
    s3: str, tmp_path: Path, through: Callable[..., FaultProxy], layout: str, rate: float
) -> None:
    name = "source"  # both are called alike, since WebDataset sources may be named by their folder
    (tmp_path / name).mkdir()
    MAKERS[layout](tmp_path / name)
    largest = upload(tmp_path / name, f"{s3}/{name}")
    here = alexprep("shard", tmp_path / name, "--out", tmp_path / "here", "--keep", "source", *OPTIONS)
    assert here.returncode == 0, here.stderr
    proxy = through(rate=rate, seed=1, kinds=("503", "429", "drop", "reset", "short"))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    words = ("shard", f"{s3}/{name}", "--out", tmp_path / "there", "--keep", "source", *OPTIONS)
    there = alexprep(*words, TMPDIR=str(scratch))
    assert there.returncode == 0, there.stderr
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert layout in ARRAYS or max(proxy.bodies.values()) < largest, "a file came whole"
    assert not list(scratch.iterdir())


def test_a_tar_that_changes_is_noticed_and_no_image_is_mixed(s3: str, tmp_path: Path) -> None:
    from alexkit.prep.sources import open_source

    (tmp_path / "source").mkdir()
    webdataset(tmp_path / "source")
    upload(tmp_path / "source", f"{s3}/source")
    split = open_source(StoreUrl.parse(f"{s3}/source")).splits[0]
    assert split.images[0].read() == jpeg(0)
    store = ObjectStore(StoreUrl.parse(f"{s3}/source"))
    content = bytearray(store.read("train-00000.tar"))
    content[20_000] ^= 1
    store.put_whole("train-00000.tar", bytes(content))
    with pytest.raises(ValueError, match="changed since it was listed"):
        split.images[0].read()


def test_headers_are_read_side_by_side(s3: str, tmp_path: Path, through: Callable[..., FaultProxy]) -> None:
    """The inner tars of an archive: more than one request is under way at a time."""
    from alexkit.prep.sources import open_source

    (tmp_path / "source").mkdir()
    ilsvrc(tmp_path / "source")
    upload(tmp_path / "source", f"{s3}/source")
    proxy = through(latency_s=0.05)
    assert len(open_source(StoreUrl.parse(f"{s3}/source")).splits[0].images) == NUM_IMAGES
    assert proxy.most_at_once >= 3
