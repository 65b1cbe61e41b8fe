"""Laws of tars as sources: what unpacking would give is read, and what is not read is named and counted."""

import io
import tarfile
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.build.adopt import adopt_webdataset
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.tars.tar_index import unpacked

Entries = list[tuple[str, bytes | tuple[bytes, str]]]
"""Names with the content of files, or with the kind and the target of links."""
LONG = "./" + "folder/" * 20


def write_tar(path: Path, entries: Entries, format_: int = tarfile.GNU_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format_) as tar:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = content
                tar.addfile(member)
    return path


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", "./", LONG])
def test_files_are_those_that_unpacking_gives(tmp_path: Path, format_: int, folder: str) -> None:
    entries: Entries = [
        (f"{folder}1.jpg", b"first"),
        (f"{folder}2.jpg", (tarfile.LNKTYPE, f"{folder}1.jpg")),
        (f"{folder}3.jpg", (tarfile.LNKTYPE, f"{folder}2.jpg")),
        (f"{folder}1.jpg", b"replaced"),  # as by tar -r and tar -u
        (f"{folder}gone.jpg", (tarfile.LNKTYPE, "elsewhere/1.jpg")),
        (f"{folder}soft.jpg", (tarfile.SYMTYPE, "1.jpg")),
        (f"{folder}pipe", (tarfile.FIFOTYPE, "")),
    ]
    content = write_tar(tmp_path / "x.tar", entries, format_).read_bytes()
    found = unpacked(tmp_path / "x.tar")
    assert {
        Path(one.name).name: (content[one.offset : one.offset + one.num_bytes], one.is_link) for one in found.files
    } == {"1.jpg": (b"replaced", False), "2.jpg": (b"first", True), "3.jpg": (b"first", True)}
    assert found.replaced == [f"{folder}1.jpg"]
    assert found.not_read == [f"{folder}{name}" for name in ("gone.jpg", "soft.jpg", "pipe")]


CLASS: Entries = [
    ("1.jpg", b"first"),
    ("2.jpg", (tarfile.LNKTYPE, "1.jpg")),
    ("1.jpg", b"last"),
    ("soft.jpg", (tarfile.SYMTYPE, "1.jpg")),
]


@pytest.mark.parametrize("nested", [False, True])
def test_class_tars_give_what_they_unpack_to(tmp_path: Path, nested: bool) -> None:
    tar = write_tar(tmp_path / "tars/n00000001.tar", CLASS)
    source = tar.parent
    if nested:
        source = tmp_path / "nested"
        inner = tar.read_bytes()
        write_tar(source / "ILSVRC2012_img_train.tar", [(tar.name, b"first"), (tar.name, inner)])
    found = open_source(source)
    (split,) = found.splits
    assert [(image.name, image.read()) for image in split.images] == [
        ("n00000001/1.jpg", b"last"),
        ("n00000001/2.jpg", b"first"),
    ]
    assert "links and devices without content in tars: n00000001.tar: soft.jpg" in found.passed_over
    replaced = "2, e.g. ILSVRC2012_img_train.tar: n00000001.tar" if nested else "n00000001.tar: 1.jpg"
    assert f"members of tars replaced by a later one of the same name: {replaced}" in found.passed_over


def test_links_in_shards_are_read_or_named_and_never_adopted(tmp_path: Path) -> None:
    entries: Entries = [
        ("a.jpg", b"x"),
        ("a.cls", b"0"),
        ("b.jpg", (tarfile.LNKTYPE, "a.jpg")),
        ("b.cls", b"1"),
        ("c.txt", (tarfile.SYMTYPE, "a.txt")),
    ]
    tar = write_tar(tmp_path / "shards/train-0.tar", entries)
    found = open_source(tar.parent, SourceOptions(layout="webdataset"))
    assert [image.read() for image in found.splits[0].images] == [b"x", b"x"]
    assert "links and devices without content in tars: train-0.tar: c.txt" in found.passed_over
    with pytest.raises(InputError, match=r"train-0.tar: 'b.jpg' is a hard link, which other readers leave out"):
        adopt_webdataset(tar.parent, tmp_path / "adopted")
