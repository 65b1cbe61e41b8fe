"""Seeded mutations of everything that is parsed: the answer is content or one clear refusal, never another exception.

Some hundred mutations of each in `make test`, a thousand in `make slow`. hypothesis chooses and
shrinks them; atheris finds more by coverage, but needs instrumented builds of the very libraries under test.
"""

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.errors import InputError
from alexkit.prep import Manifest, PixelOptions, PixelSums, open_source
from alexkit.prep.build.part import PartJob, load_part, save_part
from alexkit.prep.build.shard_job import ShardJob, ShardResult
from alexkit.prep.format.manifest import manifest_digest
from alexkit.prep.format.sample_index import SampleIndex, image_checksum
from alexkit.prep.format.shard import parse_index
from alexkit.prep.images.decode import decode_image
from alexkit.prep.images.limits import DecodeOptions
from alexkit.prep.sources.options import SourceOptions
from alexkit.prep.sources.parquet.rows import FileJob
from alexkit.prep.sources.tars.tar_index import members_of
from alexkit.prep.workers import run_jobs

from ..prep.sources.arrays.written import drawn, put_cifar10, put_idx
from ..prep.sources.lmdb.writing import datum, write_database
from ..prep.sources.records import MAGIC, Record, write_records
from ..prep.sources.tfrecords.writing import example, record
from .mutations import PROFILES, fuzz, fuzz_json

pytestmark = pytest.mark.faults

DrawShards = Callable[..., Path]


def with_its_hash(content: bytes) -> bytes:
    """A manifest whose own hash is right again; as it is where JSON of ours cannot hold it."""
    try:
        data = json.loads(content)
        data.pop("manifest_sha256", None)
        return json.dumps(data | {"manifest_sha256": manifest_digest(data)}).encode()
    except (ValueError, AttributeError):
        return content


@pytest.mark.parametrize("num_examples", PROFILES)
def test_manifest(draw_shards: DrawShards, tmp_path: Path, num_examples: int) -> None:
    path = tmp_path / "manifest.json"

    def parse(content: bytes) -> Manifest:
        path.write_bytes(content)
        return Manifest.read(tmp_path)

    content = (draw_shards() / "manifest.json").read_bytes()
    fuzz(content, parse, num_examples)
    fuzz_json(content, lambda changed: parse(with_its_hash(changed)), num_examples)


@pytest.mark.parametrize("num_examples", PROFILES)
@pytest.mark.parametrize("with_checksum", [False, True], ids=["as it is", "with its checksum mended"])
def test_sample_index(draw_shards: DrawShards, tmp_path: Path, num_examples: int, with_checksum: bool) -> None:
    path = tmp_path / "index.bin"

    def parse(content: bytes) -> None:
        if with_checksum and len(content) > 64:
            content = content[:12] + struct.pack("<I", image_checksum(content[64:])) + content[16:]
        path.write_bytes(content)
        index = SampleIndex.open(tmp_path)
        for i in range(len(index)):
            index.key(i), index.shard_of(i)

    fuzz((draw_shards() / "index.bin").read_bytes(), parse, num_examples)


@pytest.mark.parametrize("num_examples", PROFILES)
def test_text_index(draw_shards: DrawShards, num_examples: int) -> None:
    shard = draw_shards() / "train-00000.tar"
    content, num_bytes = shard.with_suffix(".idx").read_bytes(), shard.stat().st_size
    fuzz(content, lambda changed: parse_index(changed, shard, shard_bytes=num_bytes), num_examples)


@pytest.mark.parametrize("num_examples", PROFILES)
def test_part(tmp_path: Path, num_examples: int) -> None:
    shard = ShardJob(path=tmp_path / "x.tar", number=0, first_position=0, images=[], pixels=PixelOptions())
    save_part(
        PartJob(shard=shard, parts=tmp_path, plan_sha256="plan", probe=""),
        ShardResult(written=None, sums=PixelSums.zero(8)),
    )
    path = tmp_path / "00000.part"

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        load_part(path, "plan")

    fuzz(path.read_bytes(), parse, num_examples)


@pytest.mark.parametrize("num_examples", PROFILES)
def test_statistics(draw_shards: DrawShards, tmp_path: Path, num_examples: int) -> None:
    path = tmp_path / "statistics.npz"

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        PixelSums.load(path)

    fuzz((draw_shards(size_px=32) / "statistics.npz").read_bytes(), parse, num_examples)


@pytest.mark.parametrize("num_examples", PROFILES)
@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar(tmp_path: Path, num_examples: int, tar_format: int) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name in ("a.jpg", "a.cls", f"{'folder' * 10}/{'long' * 20}.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 700
            tar.addfile(member, io.BytesIO(bytes(700)))
    good = path.read_bytes()

    def parse(content: bytes) -> None:
        path.write_bytes(content)
        list(members_of(path))

    fuzz(good, parse, num_examples)


def read_all(path: Path, content: bytes, source: Path, options: SourceOptions | None = None) -> None:
    """Read every image of a source of which `path` now has this content; of those refused, raise the last error."""
    path.write_bytes(content)
    refused = None
    for image in open_source(source, options).splits[0].images:
        try:
            image.read()
        except InputError as error:
            refused = error
    if refused is not None:
        raise refused


@pytest.mark.parametrize("num_examples", PROFILES)
def test_lmdb(tmp_path: Path, num_examples: int) -> None:
    rows = {f"{i:08d}_{i % 2}/{i}.jpg".encode(): datum(bytes(300 * i), i % 2, (3, 10, 10 * i)) for i in range(1, 9)}
    path = write_database(tmp_path, rows)

    fuzz(path.read_bytes(), lambda content: read_all(path, content, tmp_path), num_examples)


@pytest.mark.parametrize("num_examples", PROFILES)
@pytest.mark.parametrize("kind", [".rec", ".idx", ".lst"])
def test_recordio(tmp_path: Path, num_examples: int, kind: str) -> None:
    magic = struct.pack("<I", MAGIC)
    images = [b"abcd" + magic + b"efgh" if i % 3 == 0 else bytes(60) for i in range(9)]
    write_records(
        tmp_path / "train.rec",
        [Record(image, i % 2, i) for i, image in enumerate(images)],
        [f"{i % 2}/{i}.jpg" for i in range(9)],
    )
    path = tmp_path / f"train{kind}"

    fuzz(path.read_bytes(), lambda content: read_all(path, content, tmp_path), num_examples)


@pytest.mark.parametrize("num_examples", PROFILES)
@pytest.mark.parametrize("with_checksums", [False, True], ids=["as it is", "with its checksums mended"])
def test_tfrecord(tmp_path: Path, num_examples: int, with_checksums: bool) -> None:
    path = tmp_path / "train.tfrecord"
    rows = [{"label": i, "image": b"GIF8", "box": [0.5, 1.5], "file_name": f"{i}.gif"} for i in range(3)]

    def parse(content: bytes) -> None:
        read_all(path, record(content) if with_checksums else content, tmp_path, SourceOptions(keep=("box",)))

    good = example(rows[0]) if with_checksums else b"".join(record(example(row)) for row in rows)
    fuzz(good, parse, num_examples)


@pytest.mark.parametrize("num_examples", PROFILES)
@pytest.mark.parametrize(
    "name",
    ["data_batch_1", "batches.meta", "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte", "a.npz", "packed.npz"],
)
def test_arrays(tmp_path: Path, num_examples: int, name: str) -> None:
    images, labels = drawn(2, 4, 4), np.array([1, 0])
    path, source = tmp_path / name, tmp_path
    if name.startswith(("data", "batches")):
        put_cifar10(tmp_path, {"data_batch_1": (drawn(1, 32, 32, 3), [3])}, pickled=True)
    elif "idx" in name:
        put_idx(tmp_path, {"train": (images, labels.tolist())})
        unpacked = tmp_path / "train-images-idx3-ubyte"
        (tmp_path / f"{unpacked.name}.gz").write_bytes(gzip.compress(unpacked.read_bytes()))
        unpacked.unlink()
    else:
        (np.savez if name == "a.npz" else np.savez_compressed)(path, train_images=images, train_labels=labels)
        source = path

    fuzz(path.read_bytes(), lambda content: read_all(path, content, source), num_examples)


@pytest.mark.parametrize(
    "num_examples", [pytest.param(150, id="quick"), pytest.param(2000, id="long", marks=pytest.mark.slow)]
)
def test_parquet_footer(tmp_path: Path, num_examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))  # workers are given it
    from fuzz_tasks import read_rows_or_refuse

    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow writes this file")
    from pyarrow import parquet

    columns = {"image": [{"bytes": b"x", "path": f"{i}.png"} for i in range(12)], "label": list(range(12))}
    parquet.write_table(pyarrow.table(columns), tmp_path / "good", row_group_size=4)
    good = (tmp_path / "good").read_bytes()
    size = int.from_bytes(good[-8:-4], "little")
    rng = np.random.default_rng(num_examples)
    jobs = []
    for i in range(num_examples):
        content = bytearray(good)
        for place in rng.integers(len(good) - 8 - size, len(good), rng.integers(1, 5)):
            content[place] = rng.integers(256)
        path = tmp_path / f"{i}.parquet"
        path.write_bytes(content)
        jobs.append((FileJob(path, str(path), SourceOptions()), 1))
    # What is no InputError ends this; a worker that dies is replaced, and its file is named.
    answers = dict(run_jobs(read_rows_or_refuse, jobs, num_workers=1, on_progress=lambda done: None))
    assert len(answers) == num_examples
    refused = [(job.path, answer) for job, answer in answers.items() if answer]
    assert refused and all(answer.startswith(f"{path}: ") and "\n" not in answer for path, answer in refused)


def image_file(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("num_examples", PROFILES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_image(num_examples: int, kind: str) -> None:
    fuzz(image_file(kind), lambda content: decode_image(content, DecodeOptions()), num_examples)
