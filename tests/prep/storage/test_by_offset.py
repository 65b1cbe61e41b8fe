"""Laws of files read by offset: a path is a path whatever its names hold, and only a URL is of a store."""

import os
from pathlib import Path

import pytest

from alexkit.prep.sources import open_source
from alexkit.prep.sources.folders.read_ahead import READ_AHEAD, read_in_order, side_by_side
from alexkit.prep.storage import StoreUrl
from alexkit.prep.storage.by_offset import address_of, is_in_store, opened, shown, stand_in


@pytest.mark.parametrize("path", ["cat/1\nb.jpg", "do\ng/1.jpg", "s3:/cat\n/1 \n.jpg"])
def test_a_line_break_in_a_path_makes_it_no_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("src", path).parent.mkdir(parents=True)
    Path("src", path).write_bytes(b"its bytes")
    assert not is_in_store(address_of(Path(path))) and shown(path) == path
    with opened(os.path.join("src", path)) as file:  # noqa: PTH118 - as text
        assert file.read_at(4, 5) == b"bytes"
    (split,) = open_source(Path("src")).splits
    ((image, content),) = read_in_order(list(split.images), lambda image: image.read())
    assert content() == b"its bytes" and image.container == f"src/{path}"


@pytest.mark.parametrize("name", ["a.tar", "a\nb.tar"])
def test_a_stand_in_has_the_url_of_its_object_with_a_version(tmp_path: Path, name: str) -> None:
    url = StoreUrl("s3", "bucket", f"data/{name}")
    stand_in(tmp_path / name, url, 7, "e-tag")
    address = address_of(tmp_path / name)
    assert is_in_store(address) and shown(address) == str(url)
    assert (tmp_path / name).stat().st_size == 7


def test_few_results_wait_to_be_used_while_files_of_a_store_are_read(tmp_path: Path) -> None:
    """Each may describe thousands of images, and there may be thousands of files."""
    stand_in(tmp_path / "a.tar", StoreUrl("s3", "bucket", "a.tar"), 7, None)
    started: list[int] = []
    results = side_by_side(range(1000), lambda number: started.append(number) or number, [tmp_path / "a.tar"])
    assert next(results) == 0 and len(started) <= 2 * READ_AHEAD
    assert list(results) == list(range(1, 1000)) and len(started) == 1000
