"""Laws of `sources.jsonl`: every name comes back as it was, and only whole keys are found."""

import hashlib
import json
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.format.source_table import find_source, source_lines, write_source_table

ROWS = {
    "00000000_a": "train/a/1.jpg",
    "00000001_a": 'train/a/quo"te\\.jpg',
    "00000001_ab": "train/café/two\nlines.jpg",
    "00000002_a": "train/a/not-utf-8-\udcff.jpg",
    "00000003_a": "a.tar:\u2028.jpg",
}


def test_every_name_comes_back(tmp_path: Path) -> None:
    digest = write_source_table(tmp_path, [source_lines(ROWS.items())])
    content = (tmp_path / "sources.jsonl").read_bytes()
    assert digest == hashlib.sha256(content).hexdigest()
    assert [json.loads(line) for line in content.splitlines()] == [
        {"key": key, "source": source} for key, source in ROWS.items()
    ]
    assert "café" in content.decode()  # a person can look for it
    assert {key: find_source(tmp_path, key) for key in ROWS} == ROWS


@pytest.mark.parametrize("key", ["00000001", "a", "", "00000000_a, 1", "train/a/1.jpg"])
def test_a_part_of_a_key_is_no_key(tmp_path: Path, key: str) -> None:
    write_source_table(tmp_path, [source_lines(ROWS.items())])
    with pytest.raises(InputError, match=r"sources\.jsonl: no sample has the key"):
        find_source(tmp_path, key)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "sources.jsonl").write_bytes(b'{"key": "a", "sou')
    with pytest.raises(InputError, match=r"sources\.jsonl: damaged line"):
        find_source(tmp_path, "a")
    (tmp_path / "sources.jsonl").write_bytes(b"")
    with pytest.raises(InputError, match="no sample has the key"):
        find_source(tmp_path, "a")
