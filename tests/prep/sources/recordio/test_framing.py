"""Laws of the framing: every content comes back whole, and damage is one bad image or a refusal that names the byte."""

import json
import random
import struct
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import SourceSplit, open_source
from alexkit.prep.sources.recordio import rows

from ..records import MAGIC, Record, framed, packed, write_records

WORD = struct.pack("<I", MAGIC)


@pytest.fixture(autouse=True, params=["one after the other", "in steps"])
def in_steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of files in a store are read in steps between offsets of the index."""
    if request.param == "in steps":
        monkeypatch.setattr(rows, "is_in_store", lambda address: True)
        monkeypatch.setattr(rows, "_RECORDS_PER_STEP", 1)


def only_split(folder: Path) -> SourceSplit:
    (split,) = open_source(folder).splits
    return split


IMAGES = [
    b"",
    b"a",
    b"abcd",
    WORD,
    WORD * 3,
    b"abcd" + WORD,
    WORD + b"abc",
    b"ab" + WORD + b"cd",  # not where a reader looks: not divided
    b"abcd" + WORD + b"efgh" + WORD + b"ij",
]


@pytest.mark.parametrize("number", [5, MAGIC, MAGIC << 32 | 7])
@pytest.mark.parametrize("label", [1, [1]])
def test_an_image_that_contains_the_magic_number_comes_back_whole(
    tmp_path: Path, number: int, label: int | list[int]
) -> None:
    """The header, too, may contain it."""
    records = [Record(b"first", 0, 1), *(Record(image, label, number) for image in IMAGES), Record(b"last", 0, 3)]
    write_records(tmp_path / "train.rec", records)
    images = only_split(tmp_path).images
    assert [(one.name, one.read()) for one in images] == [
        ("0/train-0000000", b"first"),
        (f"0/train-{1 + len(IMAGES):07d}", b"last"),
        *((f"1/train-{i:07d}", image) for i, image in enumerate(IMAGES, 1)),
    ]
    assert [one.num_bytes for one in images] == [5, 4, *map(len, IMAGES)]


def test_random_contents_come_back_whole(tmp_path: Path) -> None:
    rng = random.Random(3)
    contents = [b"".join(rng.choice([WORD, b"abcd", b"e"]) for _ in range(rng.randrange(20))) for _ in range(300)]
    write_records(tmp_path / "train.rec", [Record(one, 0, i) for i, one in enumerate(contents)])
    assert [one.read() for one in only_split(tmp_path).images] == contents


RECORDS = [Record(b"one!" * 20, 0, 7), Record(b"two!" * 20, 1, 8), Record(b"three!!!" * 10, 0, 9)]
NAMES = ["cat/1.jpg", "dog/2.jpg", "cat/3.jpg"]
SIZE = len(framed(packed(RECORDS[0])))  # of each of them


def damage(path: Path, at: int, found: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[at : at + len(found)] = found
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("at", "found", "words"),
    [
        (SIZE, b"\0\0", rf"no record at byte {SIZE}: found 00 00 d7 ce, expected 0a 23 d7 ce; get the file again"),
        (SIZE + 4, b"\x08", rf"no record at byte {SIZE + 16}: found .*"),
        (SIZE + 4, b"\xff\xff\xff\x1f", rf"the record at byte {SIZE} has {2**29 - 1} bytes, but the file ends at byte"),
        (SIZE + 7, b"\x40", rf"at byte {SIZE} begins a part of a record with flag 2, expected a record"),
        (SIZE + 7, b"\x20", rf"at byte {2 * SIZE} is flag 0, expected the next part .* of the record at {SIZE}"),
    ],
)
@pytest.mark.parametrize("has_idx", [False, True])
@pytest.mark.parametrize("has_lst", [False, True])
def test_a_damaged_frame_is_one_bad_image_if_the_index_shows_the_next_record_and_else_a_refusal(
    tmp_path: Path, at: int, found: bytes, words: str, has_idx: bool, has_lst: bool
) -> None:
    write_records(tmp_path / "train.rec", RECORDS, NAMES if has_lst else None)
    damage(tmp_path / "train.rec", at, found)
    if not has_idx:
        (tmp_path / "train.idx").unlink()
        with pytest.raises(InputError, match=rf"train\.rec: {words}.*; with train\.idx beside it, records after"):
            open_source(tmp_path)
        return
    images = only_split(tmp_path).images
    ids = ("cat", "dog") if has_lst else ("0", "1")
    names = ("1.jpg", "3.jpg", "2.jpg") if has_lst else ("train-0000000", "train-0000002", "train-0000001")
    assert [one.name for one in images] == [
        f"{ids[label]}/{name}" for label, name in zip((0, 0, 1), names, strict=True)
    ]
    assert [one.read() for one in images[:2]] == [RECORDS[0].image, RECORDS[2].image]
    with pytest.raises(InputError, match=r"byte"):
        images[2].read()


def test_damage_among_records_that_a_stale_index_does_not_list_is_refused(tmp_path: Path) -> None:
    """Nothing tells where the next record begins, and none may be lost in silence."""
    write_records(tmp_path / "train.rec", [RECORDS[i % 3] for i in range(6)])
    (tmp_path / "train.idx").write_text(f"7\t0\n7\t{4 * SIZE}\n9\t{5 * SIZE}\n")
    damage(tmp_path / "train.rec", 2 * SIZE, b"\0\0")
    with pytest.raises(InputError, match=rf"train\.rec: no record at byte {2 * SIZE}: .*; get the file again"):
        open_source(tmp_path)


def test_an_image_of_another_size_than_when_it_was_listed_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "train.rec", [Record(b"abcd" + WORD, 0, 1)])
    (image,) = only_split(tmp_path).images
    write_records(tmp_path / "train.rec", [Record(b"abcd" + WORD + b"efgh", 0, 1)])
    with pytest.raises(InputError, match="12 bytes, expected 8 as when the source was listed"):
        image.read()


def test_a_damaged_record_without_a_known_label_is_refused(tmp_path: Path) -> None:
    """Its header is not that of the record in the index."""
    write_records(tmp_path / "train.rec", RECORDS)
    damage(tmp_path / "train.rec", SIZE, bytes(40))
    with pytest.raises(InputError, match=rf"byte {SIZE} \(id 8\) is damaged, and no train\.lst beside the file tells"):
        open_source(tmp_path)


@pytest.mark.parametrize("header", [b"\xff\xff\xff\xff", None])
def test_a_whole_record_without_a_header_is_one_bad_image_if_the_list_tells_its_label(
    tmp_path: Path, header: bytes | None
) -> None:
    write_records(tmp_path / "train.rec", RECORDS, NAMES)
    if header is None:
        records = [framed(packed(RECORDS[0])), framed(b"short"), framed(packed(RECORDS[2]))]
        (tmp_path / "train.rec").write_bytes(b"".join(records))
        starts = [0, SIZE, SIZE + len(records[1])]
        (tmp_path / "train.idx").write_text("".join(f"{i}\t{at}\n" for i, at in zip((7, 8, 9), starts, strict=True)))
    else:
        damage(tmp_path / "train.rec", SIZE + 8, header)
    images = only_split(tmp_path).images
    assert [one.name for one in images] == ["cat/1.jpg", "cat/3.jpg", "dog/2.jpg"]
    with pytest.raises(InputError, match=rf"the record at byte {SIZE} is damaged: "):
        images[2].read()
    (tmp_path / "train.idx").rename(tmp_path / "idx")
    with pytest.raises(InputError, match=r"is damaged, and no train\.idx beside the file tells its id"):
        open_source(tmp_path)
    (tmp_path / "idx").rename(tmp_path / "train.idx")
    (tmp_path / "train.lst").unlink()
    with pytest.raises(InputError, match=r"is damaged, and no train\.lst"):
        open_source(tmp_path)


@pytest.mark.parametrize("num_lost", [1, 3, 50, SIZE - 8, SIZE - 3, SIZE])
@pytest.mark.parametrize("has_idx", [False, True])
def test_a_file_that_ends_too_early_is_refused(tmp_path: Path, num_lost: int, has_idx: bool) -> None:
    write_records(tmp_path / "train.rec", RECORDS, NAMES)
    path = tmp_path / "train.rec"
    path.write_bytes(path.read_bytes()[:-num_lost])
    if not has_idx:
        (tmp_path / "train.idx").unlink()
    if num_lost == SIZE and not has_idx:  # nothing but the list shows it
        assert (
            f"images of train.lst that are not in train.rec: {path.with_suffix('.lst')}"
            in open_source(tmp_path).passed_over
        )
        return
    with pytest.raises(InputError, match=r"not complete"):
        open_source(tmp_path)


def test_another_file_of_this_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.rec").write_bytes(b"RIFF" * 20)
    with pytest.raises(InputError, match=r"no record at byte 0: found 52 49 46 46, .*; this is no RecordIO file"):
        open_source(tmp_path)


def test_a_file_padded_with_zeros_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "train.rec", RECORDS)
    path = tmp_path / "train.rec"
    path.write_bytes(path.read_bytes() + bytes(512))
    with pytest.raises(InputError, match=rf"no record at byte {3 * SIZE}: found 00 00 00 00"):
        open_source(tmp_path)


def idx_of(*offsets: int) -> str:
    return "".join(f"{i}\t{offset}\n" for i, offset in enumerate(offsets))


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (idx_of(2 * SIZE, 0, SIZE), None),
        (None, None),
        (idx_of(0, SIZE), "2 of the 2 offsets are those of a record, and there are 3 records"),
        (idx_of(0, SIZE, SIZE + 4), "2 of the 3 offsets are those of a record, and there are 3 records"),
        (idx_of(4, 8, 12), "0 of the 3 offsets"),
        ("", "0 of the 0 offsets"),
        ("a b c", "not used, since it is not an index with lines KEY OFFSET"),
        ("\0\xff", "not used, since it is not an index with lines KEY OFFSET"),
    ],
)
def test_the_index_never_decides_where_records_are(tmp_path: Path, text: str | None, note: str | None) -> None:
    write_records(tmp_path / "train.rec", RECORDS)
    (tmp_path / "train.idx").unlink()
    if text is not None:
        (tmp_path / "train.idx").write_bytes(text.encode("latin-1"))
    source = open_source(tmp_path)
    assert [one.read() for one in source.splits[0].images] == [RECORDS[i].image for i in (0, 2, 1)]
    noted = [line for line in source.notes if "train.idx" in line]
    assert (note is None and not noted) or (note is not None and note in noted[0])


def test_any_flipped_bit_is_refused_in_one_line_or_loses_no_image(tmp_path: Path) -> None:
    offsets = write_records(
        tmp_path / "train.rec", [*RECORDS, Record(b"abcd" + WORD + b"efgh", 1, 10)], [*NAMES, "dog/4.jpg"]
    )
    good, rng = (tmp_path / "train.rec").read_bytes(), random.Random(0)
    num_refused = 0
    for _ in range(150):
        content = bytearray(good)
        content[rng.choice(offsets) + rng.randrange(40)] ^= 1 << rng.randrange(8)
        (tmp_path / "train.rec").write_bytes(content)
        try:
            images = only_split(tmp_path).images
        except InputError as error:
            assert "\n" not in str(error) and "train.rec" in str(error)
            num_refused += 1
            continue
        assert [one.name for one in images] == ["cat/1.jpg", "cat/3.jpg", "dog/2.jpg", "dog/4.jpg"]
        for one in images:
            try:
                one.read()
            except InputError as error:
                json.dumps(str(error))
    assert 15 < num_refused < 135
