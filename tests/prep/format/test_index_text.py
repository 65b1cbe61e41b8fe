"""The compiled reader of an index, whose array indices nobody checks, held to a regular expression."""

import random
import re

from alexkit.prep.format.index_text import MAX_DIGITS, MAX_NAME, parse_lines

Row = tuple[tuple[int, ...], bytes]
NUM_MUTATIONS = 6000
PIECES = (
    b"",
    b" ",
    b"  ",
    b"\n",
    b".",
    b"cls",
    b"json",
    b"jpg",
    b"\0",
    b"\xff",
    b"-",
    b"+1",
    b"9" * 18,
    b"9" * 19,
    b"k" * 130,
)


def plain(body: bytes) -> tuple[list[Row], int]:
    """Rows up to the first line that is not as it must be, and how many lines there are."""
    ext = body[: max(body.find(b" "), 0)]
    number, escaped = rb"(\d{1,%d})" % MAX_DIGITS, re.escape(ext)
    lines = body.removesuffix(b"\n").split(b"\n") if body else []
    label = b"json" if lines and re.match(rb"([^ ]* ){4}json ", lines[0]) else b"cls"
    line = re.compile(
        rb"%s %s %s ([^\0- ]+)\.%s %s %s %s ([^\0- ]+)\.%s"
        % (escaped, number, number, escaped, label, number, number, label)
    )
    rows: list[Row] = []
    for text in lines:
        found = line.fullmatch(text)
        if not ext or not found or found[3] != found[6]:
            break
        if max(len(found[3]) + 1 + len(ext), len(found[6]) + 1 + len(label)) > MAX_NAME:
            break
        rows.append((tuple(int(found[i]) for i in (1, 2, 4, 5)), found[3]))
    return rows, len(lines)


def check(body: bytes) -> int:
    """Read both ways; the number of good lines."""
    rows, num_lines = plain(body)
    found = parse_lines(body, num_lines)
    assert found.num_good == len(rows), body
    if found.num_good == num_lines:  # otherwise the arrays mean nothing
        numbers, keys = found.numbers_N4.tolist(), found.key_bytes.tolist()
        assert [(tuple(row), key) for row, key in zip(numbers, keys, strict=True)] == rows, body
    return found.num_good


def true_text(rng: random.Random) -> bytes:
    ext, label = rng.choice([b"jpg", b"png", b"raw", b"x"]), rng.choice([b"cls", b"cls", b"json"])
    lines = []
    for _ in range(rng.randint(1, 4)):
        key = bytes(rng.choices(b"abcXYZ019_-./", k=rng.choice([1, 2, 9, 120, MAX_NAME - 5])))
        image = b"%s %d %d %s.%s" % (ext, rng.randrange(10**18), rng.randrange(10**6), key, ext)
        lines.append(image + b" %s %d %d %s.%s" % (label, rng.randrange(10**9), rng.randrange(10), key, label))
    return b"\n".join(lines) + rng.choice([b"", b"\n"])


def mutated(body: bytes, rng: random.Random) -> bytes:
    content = bytearray(body)
    for _ in range(rng.randint(1, 2)):
        place = rng.randrange(len(content) + 1)
        match rng.randrange(4):
            case 0:
                content[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                content[place:place] = rng.choice(PIECES)
            case 2:
                del content[place : place + rng.randint(1, 12)]
            case _:
                del content[place:]
    return bytes(content)


def test_true_text_is_read_whole() -> None:
    rng = random.Random(0)
    for _ in range(500):
        body = true_text(rng)
        assert check(body) == len(body.removesuffix(b"\n").split(b"\n"))


def test_what_is_damaged_is_read_as_a_regular_expression_reads_it() -> None:
    rng = random.Random(1)
    num_good = [check(mutated(true_text(rng), rng)) for _ in range(NUM_MUTATIONS)]
    assert len(set(num_good)) == 5  # from none to four good lines: neither all nor nothing is refused


def test_the_longest_name_is_read_and_one_more_letter_is_not() -> None:
    for more, num_good in ((0, 1), (1, 0)):
        key = b"k" * (MAX_NAME - 4 + more)
        assert check(b"jpg 512 1 %s.jpg cls 1536 1 %s.cls" % (key, key)) == num_good
