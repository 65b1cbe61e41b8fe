"""Laws of listing tars: whole names and sizes of every format; an archive that is not whole is refused by the byte."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexkit.errors import InputError
from alexkit.prep.sources.tars.tar_index import MAX_HEADER_BYTES, members_of

LONG = "folder/" * 20 + "image.jpg"


def tar_of(names: list[str], format_: int = tarfile.USTAR_FORMAT, content: bytes = b"abc") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format_) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def listed(path: Path, content: bytes) -> list[tuple[str, bytes]]:
    path.write_bytes(content)
    return [(member.name, content[member.offset : member.offset + member.num_bytes]) for member in members_of(path)]


def with_header(content: bytes, position: int, change: Callable[[bytearray], None]) -> bytes:
    """`content` with the header at `position` changed, and its checksum right."""
    data = bytearray(content)
    header = data[position : position + 512]
    change(header)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data[position : position + 512] = header
    return bytes(data)


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", ["a.jpg", "caf\u00e9.jpg", LONG, "x" * 99 + "/" + "y" * 90])
def test_names_of_every_format_are_whole(tmp_path: Path, format_: int, name: str) -> None:
    assert listed(tmp_path / "x.tar", tar_of([name, "b.jpg"], format_)) == [(name, b"abc"), ("b.jpg", b"abc")]


def test_a_size_of_pax_goes_before_that_of_the_header(tmp_path: Path) -> None:
    pax = tar_of(["x"], content=b"12 size=600\n")
    content = with_header(pax[:1024], 0, lambda header: header.__setitem__(slice(156, 157), b"x"))
    member = with_header(
        tar_of(["big.jpg"], content=b"z" * 600),
        0,
        lambda header: header.__setitem__(slice(124, 136), b"0" * 11 + b"\0"),
    )
    assert listed(tmp_path / "x.tar", content + member) == [("big.jpg", b"z" * 600)]


def test_a_pax_value_may_hold_what_looks_like_a_record(tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("right.jpg")
        info.pax_headers = {"comment": "a line\n20 path=wrong.jpg\n"}
        tar.addfile(info)
    assert listed(tmp_path / "x.tar", file.getvalue()) == [("right.jpg", b"")]


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_members_without_content_may_state_a_size(tmp_path: Path, kind: bytes) -> None:
    folder = tar_of(["folder"], content=b"")[:512]

    def state_a_size(header: bytearray) -> None:
        header[156:157], header[124:136] = kind, b"%011o\0" % 5000

    content = with_header(folder, 0, state_a_size) + tar_of(["a.jpg"])
    assert listed(tmp_path / "x.tar", content) == [("a.jpg", b"abc")]


def test_a_name_that_ends_in_a_slash_is_a_folder(tmp_path: Path) -> None:
    content = with_header(tar_of(["folderX", "a.jpg"]), 0, lambda header: header.__setitem__(6, ord("/")))
    assert listed(tmp_path / "x.tar", content) == [("a.jpg", b"abc")]


WHOLE = tar_of(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends at byte 0 without the end mark"),
        (WHOLE[:700], "the member at byte 0 ends beyond|ends at byte 700 without|not complete"),
        (WHOLE[:1024], "ends at byte 1024 without the end mark of a tar; it is not complete"),
        (
            WHOLE[:1024] + bytes(512) + WHOLE[1536:],
            "zeros at byte 1024, .* but data follows at byte 1536; .*block was lost",
        ),
        (WHOLE + WHOLE, "zeros at byte 4096, .* but data follows at byte 10240; .*tars were joined by cat"),
        (b"x" * 10240, "no tar header at byte 0"),
        (WHOLE[:1024] + b"y" + WHOLE[1025:], "no tar header at byte 1024; the archive is damaged"),
    ],
)
def test_a_tar_that_is_not_whole_is_refused_by_the_byte(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(InputError, match=rf"x\.tar: .*({words})"):
        listed(tmp_path / "x.tar", content)


def test_a_header_that_claims_a_gigabyte_takes_no_memory(tmp_path: Path) -> None:
    def claim(header: bytearray) -> None:
        header[156:157], header[124:136] = b"x", b"%011o\0" % 2**30

    with (tmp_path / "x.tar").open("wb") as file:
        file.write(with_header(tar_of(["x"])[:512], 0, claim))
        file.truncate(2**30 + 10240)  # sparse
    with pytest.raises(InputError, match=f"a header of {2**30} bytes at byte 0, more than {MAX_HEADER_BYTES}"):
        list(members_of(tmp_path / "x.tar"))


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_any_damage_is_refused_in_one_line_or_changes_no_offset(tmp_path: Path, format_: int) -> None:
    good = tar_of(["a.jpg", LONG, "c.jpg"], format_)
    expected = [name for name, _ in listed(tmp_path / "x.tar", good)]
    rng = np.random.default_rng(0)
    num_refused = 0
    for _ in range(400):
        content = bytearray(good[: good.rindex(b"abc") + 1024])
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        try:
            found = listed(tmp_path / "x.tar", bytes(content))
        except InputError as error:
            assert "\n" not in str(error)
            num_refused += 1
        else:
            assert len(found) == len(expected)
    assert num_refused > 100
