"""The page of layouts is true: every example is created as it stands and read as the line below it says."""

import gzip
import io
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from alexkit.prep.sources import LAYOUTS, open_source

from .arrays.written import drawn, idx_images, idx_labels, records
from .tfrecords.writing import write_examples

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow writes the parquet files of these tests")
scipy_io = pytest.importorskip("scipy.io", reason="scipy writes the MATLAB files of these tests")
from pyarrow import parquet  # noqa: E402

from .lmdb.writing import datum, write_database  # noqa: E402
from .records import Record, write_records  # noqa: E402

PAGE = (Path(__file__).parents[3] / "docs/reference/layouts.md").read_text()
EXAMPLES = re.findall(r"^```text\n(.*?)^```\n\nRead (?:from (\S+) )?as (.*?)\.$", PAGE, re.MULTILINE | re.DOTALL)


def tar_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def devkit() -> bytes:
    rows = [(1, "n01440764", "tench"), (2, "n01443537", "goldfish")]
    kinds = [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)]
    meta = io.BytesIO()
    scipy_io.savemat(meta, {"synsets": np.array(rows, kinds).reshape(-1, 1)})
    return gzip.compress(tar_of({"meta.mat": meta.getvalue(), "ILSVRC2012_validation_ground_truth.txt": b"2\n"}))


def members_in(written: str) -> dict[str, bytes]:
    """`a.jpg b.cls=1 inner.tar(c.jpg)` as members with content."""
    members = {}
    for word in re.findall(r"\S+\(.*?\)|\S+", written):
        name, _, inner = word.partition("(")
        name, _, content = name.partition("=")
        members[name] = tar_of(members_in(inner[:-1])) if inner else content.encode() or b"image"
    return members


def array_of(name: str, numbers: list[int]) -> bytes:
    """A batch of CIFAR with these labels, another file of them, or one of so many images."""
    if name.endswith("_X.bin"):
        return bytes(numbers[0] * 3 * 96 * 96)
    if name.endswith("_y.bin"):
        return bytes(numbers)
    if name.endswith(".npy"):
        file = io.BytesIO()
        np.save(file, drawn(numbers[0], 28, 28) if "_images" in name else np.array(numbers))
        return file.getvalue()
    if name.endswith(".bin"):
        return records(drawn(len(numbers), 32, 32, 3), numbers)
    return idx_images(drawn(numbers[0], 28, 28)) if "-images-" in name else idx_labels(numbers)


def create(path: Path, written: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".bin", ".npy") or path.name.endswith("-ubyte"):
        path.write_bytes(array_of(path.name, [int(word) for word in written.split()]))
        return
    if path.name.endswith(".tar.gz"):
        path.write_bytes(devkit())
    elif path.suffix == ".tar":
        path.write_bytes(tar_of(members_in(written)))
    elif path.name == "data.mdb":
        keys = (word.partition("=") for word in written.split())
        write_database(path.parent, {key.encode(): datum(b"image", int(label)) for key, _, label in keys})
    elif path.suffix == ".rec":
        write_records(path, [Record(b"image", float(label), i) for i, label in enumerate(written.split())])
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members_in(written).items():
                archive.writestr(name, content)
    elif path.suffix == ".parquet":
        labels = written.partition("label=")[2].split(",")
        table = pyarrow.table({"image": [{"bytes": b"x", "path": "x.jpg"}] * len(labels), "label": labels})
        parquet.write_table(table, path)
    elif path.name.endswith(("-of-00001", "-of-00002")):
        *others, (name, values) = (word.partition("=")[::2] for word in written.split())
        labels = [int(one) if one.isdigit() else one for one in values.split(",")]
        write_examples(path, [{others[0][0]: b"GIF8", name: label} for label in labels])
    else:
        path.write_text(written.replace(" | ", "\n") + "\n" if written else "image")


@pytest.mark.parametrize(("tree", "source", "expected"), EXAMPLES, ids=[text.split()[0] for text, _, _ in EXAMPLES])
def test_an_example_is_read_as_the_page_says(tmp_path: Path, tree: str, source: str, expected: str) -> None:
    for line in tree.splitlines():
        name, _, written = line.partition(": ")
        create(tmp_path / name, written)
    found = open_source(tmp_path / (source or re.split("[/:]", tree)[0]))
    counts = ", ".join(f"{split.name} {len(split.images)}" for split in found.splits)
    assert f"{counts}; classes {', '.join(entry.id for entry in found.splits[0].classes)}" == expected


def test_every_layout_has_a_section() -> None:
    assert set(re.findall(r"^### .*: `([a-z0-9-]+)`$", PAGE, re.MULTILINE)) == set(LAYOUTS)
    assert len(EXAMPLES) == PAGE.count("```text")


def test_the_block_on_the_page_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alexkit.cli.prep.source_options import found_lines

    monkeypatch.chdir(tmp_path)
    for label, class_id in enumerate(("daisy", "dandelion", "rose", "sunflower", "tulip")):
        for split, count in (("train", 360), ("valid", 40)):
            folder = Path("photos", split, class_id)
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{label}-{i}.jpg").touch()
        (Path("photos/train") / class_id / "Thumbs.db").touch()
    block = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
    assert list(found_lines(open_source(Path("photos")))) == block.splitlines()
