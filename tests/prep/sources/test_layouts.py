"""The law of laws: the same images give the same shards, however they lie on the disk and however many work on them."""

import io
import itertools
import json
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.tars.samples import labeled_samples

from .tfrecords.writing import write_examples

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow writes the parquet files of these tests")
from pyarrow import parquet  # noqa: E402

from .lmdb.writing import datum, write_database  # noqa: E402
from .records import MAGIC, Record, write_records  # noqa: E402

Content = dict[str, dict[str, bytes]]
"""Class id to file name to bytes."""


def shuffled(content: Content) -> list[tuple[str, str, bytes]]:
    rows = [(class_id, name, data) for class_id, files in content.items() for name, data in files.items()]
    random.Random(5).shuffle(rows)
    return rows


def class_folders(content: Content, folder: Path) -> Path:
    # Created in another order than that of their names, so that the file system lists them in another order.
    for class_id, name, data in shuffled(content):
        (folder / class_id).mkdir(parents=True, exist_ok=True)
        (folder / class_id / name).write_bytes(data)
    return folder


def tar_of(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def class_tars(content: Content, folder: Path) -> Path:
    folder.mkdir()
    for class_id, files in content.items():
        (folder / f"{class_id}.tar").write_bytes(tar_of(files))
    return folder


def tar_of_tars(content: Content, folder: Path) -> Path:
    folder.mkdir()
    inner = {f"{class_id}.tar": tar_of(content[class_id]) for class_id in reversed(content)}
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(inner))
    return folder


def image_list(content: Content, folder: Path) -> Path:
    class_folders(content, folder)
    lines = [json.dumps({"path": f"{class_id}/{name}", "label": class_id}) for class_id, name, _ in shuffled(content)]
    (folder / "list.jsonl").write_text("\n".join(lines))
    return folder / "list.jsonl"


def parquet_files(content: Content, folder: Path) -> Path:
    folder.mkdir()
    rows = shuffled(content)
    features = {"label": {"_type": "ClassLabel", "names": list(content)}}
    for number in range(2):
        part = rows[number::2]
        table = pyarrow.table(
            {
                "image": [{"bytes": data, "path": name} for _, name, data in part],
                "label": [list(content).index(class_id) for class_id, _, _ in part],
            }
        ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        parquet.write_table(table, folder / f"train-{number}.parquet", row_group_size=3)
    return folder


def tfrecords(content: Content, folder: Path) -> Path:
    rows = [
        {"image/class/label": list(content).index(class_id), "image/filename": name, "image/encoded": data}
        for class_id, name, data in shuffled(content)
    ]
    for number in range(2):
        write_examples(folder / f"train-{number:05d}-of-00002", rows[number::2])
    return folder


def webdataset(content: Content, folder: Path) -> Path:
    folder.mkdir()
    rows = shuffled(content)
    for number in range(2):
        files: dict[str, bytes] = {}
        for class_id, name, data in rows[number::2]:
            stem = name.partition(".")[0]
            files |= {f"{stem}.jpg": data, f"{stem}.cls": b"%d" % list(content).index(class_id)}
        (folder / f"train-{number:05d}.tar").write_bytes(tar_of(files))
    return folder


def record_files(content: Content, folder: Path) -> Path:
    """As im2rec writes them, with one image that had to be divided."""
    names = [f"{class_id}/{name}" for class_id, name, _ in shuffled(content)]
    labels = [list(content).index(class_id) for class_id, _, _ in shuffled(content)]
    rows = list(zip(names, labels, (data for _, _, data in shuffled(content)), strict=True))
    for number in range(2):
        part = rows[number::2]
        records = [Record(data, label, 5 * i) for i, (_, label, data) in enumerate(part)]
        write_records(folder / f"train_{number}.rec", records, [name for name, _, _ in part])
    return folder


def lmdb(content: Content, folder: Path) -> Path:
    rows = enumerate(shuffled(content))
    of_keys = {f"{i:08d}_{one}/{name}".encode(): datum(data, list(content).index(one)) for i, (one, name, data) in rows}
    write_database(folder / "train_lmdb", of_keys)
    return folder / "train_lmdb"


def kaggle(content: Content, folder: Path) -> Path:
    class_folders(content, folder / "ILSVRC/Data/CLS-LOC/train")
    mapping = "".join(f"{class_id} what people call it\n" for class_id in content)
    (folder / "LOC_synset_mapping.txt").write_text(mapping)
    return folder


def zip_file(content: Content, folder: Path) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for class_id, name, data in shuffled(content):
            archive.writestr(f"photos/{class_id}/{name}", data)
    return folder / "photos.zip"


def text_list(content: Content, folder: Path) -> Path:
    class_folders(content, folder)
    (folder / "train.txt").write_text("".join(f"{one}/{name} {one}\n" for one, name, _ in shuffled(content)))
    return folder / "train.txt"


def tiny_imagenet(content: Content, folder: Path) -> Path:
    for class_id, name, data in shuffled(content):
        (folder / "train" / class_id / "images").mkdir(parents=True, exist_ok=True)
        (folder / "train" / class_id / "images" / name).write_bytes(data)
        (folder / "train" / class_id / f"{class_id}_boxes.txt").write_text("boxes")
    return folder


def flat_folder(content: Content, folder: Path) -> Path:
    (folder / "train").mkdir(parents=True)
    for _, name, data in shuffled(content):
        (folder / "train" / name).write_bytes(data)
    (folder / "train.txt").write_text("".join(f"train/{name} {one}\n" for one, name, _ in shuffled(content)))
    return folder


LAYOUTS = (
    *(class_folders, class_tars, tar_of_tars, image_list, parquet_files, tfrecords, webdataset, kaggle),
    *(record_files, lmdb, zip_file, text_list, tiny_imagenet, flat_folder),
)


def test_the_same_images_give_the_same_shards_in_every_layout_with_any_number_of_workers(
    tmp_path: Path, draw_source: Callable[..., Path], tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    # Classes are called by their numbers, because WebDataset knows no other names.
    content = {
        str(label): {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        for label, folder in enumerate(sorted(draw_source(splits=()).iterdir()))
    }
    divided = content["0"][next(iter(content["0"]))]
    content["0"][next(iter(content["0"]))] = divided + bytes(-len(divided) % 4) + struct.pack("<I", MAGIC) + b"end"
    trees = {}
    for (number, write), num_workers in itertools.product(enumerate(LAYOUTS), (1, 2, 3)):
        source = tmp_path / f"source{number}"
        path = write(content, source) if num_workers == 1 else source_of(source)
        # Only tars called by synset ids are taken for class tars without being told.
        found = open_source(path, SourceOptions(layout="class-tars" if write is class_tars else None))
        out = tmp_path / f"out{number}-{num_workers}"
        options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=num_workers)
        build_shards(found, out, options, on_split=lambda split: lambda done, num_bad: None)
        # A manifest tells the source by the sizes of its files, which not every layout lists; Kaggle names classes;
        # the table of sources says where images lie.
        about = ("manifest.json", "README.md", "sources.jsonl")
        files = {name: digest for name, digest in tree_hashes(out).items() if not name.endswith(about)}
        trees[write.__name__, num_workers] = files
    expected = trees["class_folders", 1]
    assert len(expected) == 4 * 2 + 3 + 1  # tars and their indexes, files of the sets, _info.json
    assert {name for name, tree in trees.items() if tree != expected} == set()


def test_other_names_of_the_classes_change_keys_and_nothing_else(
    tmp_path: Path, draw_source: Callable[..., Path]
) -> None:
    """As in Hugging Face's ImageNet, whose classes are called by words, in the order of their WordNet ids."""
    ids = {
        folder.name: {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        for folder in sorted(draw_source(splits=()).iterdir())
    }
    words = dict(zip(("tench, Tinca tinca", "goldfish", "great white shark"), ids.values(), strict=True))
    names, contents = [], []
    for write, content in ((class_folders, ids), (parquet_files, words)):
        out = tmp_path / f"out-{write.__name__}"
        options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=1)
        found = open_source(write(content, tmp_path / write.__name__))
        build_shards(found, out, options, on_split=lambda split: lambda done, num_bad: None)
        samples = [(tar.read_bytes(), one) for tar in sorted(out.rglob("*.tar")) for one in labeled_samples(tar)]
        names.append([one.key.partition("_")[2] for _, one in samples])
        contents.append([(one.label, tar[one.image.offset :][: one.image.num_bytes]) for tar, one in samples])
    assert contents[0] == contents[1]
    assert names[0][0].startswith("n0000000") and not set(names[0]) & set(names[1])


def source_of(folder: Path) -> Path:
    """The folder, or the list of images in it."""
    return next((path for pattern in ("*.jsonl", "*.zip", "train.txt") for path in folder.glob(pattern)), folder)
