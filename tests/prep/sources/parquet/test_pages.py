"""Laws of reading one value out of a parquet column: what pyarrow reads, whatever wrote the pages."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow writes the files of these tests")
from pyarrow import parquet  # noqa: E402

from alexkit.prep.sources.options import SourceOptions  # noqa: E402
from alexkit.prep.sources.parquet import pages  # noqa: E402
from alexkit.prep.sources.parquet.split import read_parquet as read_parquet_with  # noqa: E402
from alexkit.prep.sources.remarks import Remarks  # noqa: E402
from alexkit.prep.storage.by_offset import opened  # noqa: E402


def read_parquet(files: list[Path], split: str) -> Any:
    return read_parquet_with(files, split, SourceOptions(), Remarks())


STRUCT = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def values() -> list[bytes | None]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9000, 150)
    # Repeated values for a dictionary, nulls, and a value without bytes.
    return [*(rng.bytes(int(size)) for size in sizes), None, b"", *[b"again", b"and again"] * 10, None, b"last"]


def write(path: Path, contents: list[bytes | None], **options: object) -> Path:
    rows = [None if i % 50 == 7 else {"bytes": content, "path": f"{i}.jpg"} for i, content in enumerate(contents)]
    table = pyarrow.table({"image": pyarrow.array(rows, STRUCT), "label": [0] * len(rows)})
    parquet.write_table(table, path, **options)
    return path


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_every_value_is_what_pyarrow_reads(
    tmp_path: Path, compression: str, version: str, use_dictionary: bool
) -> None:
    path = write(
        tmp_path / "x.parquet",
        values(),
        compression=compression,
        data_page_version=version,
        use_dictionary=use_dictionary,
        row_group_size=60,
        data_page_size=20_000,
        dictionary_pagesize_limit=50_000,
    )
    expected = [row and row["bytes"] for row in parquet.read_table(path)["image"].to_pylist()]
    images = {(image.chunk.start, image.row): image for image in read_parquet([path], "train").images}
    assert len(images) == len(expected) == len(values())
    for place, content in zip(sorted(images), expected, strict=True):
        if content is None:
            with pytest.raises(ValueError, match=r"^null instead of an image$"):
                images[place].read()
        else:
            assert images[place].read() == content


def test_a_column_that_cannot_be_null_is_read(tmp_path: Path) -> None:
    struct = pyarrow.struct([pyarrow.field("bytes", pyarrow.binary(), nullable=False)])
    schema = pyarrow.schema([pyarrow.field("image", struct, nullable=False), ("label", pyarrow.int64())])
    rows = [{"bytes": bytes([i]) * 5} for i in range(9)]
    parquet.write_table(pyarrow.table({"image": rows, "label": [0] * 9}, schema), tmp_path / "x.parquet")
    images = read_parquet([tmp_path / "x.parquet"], "train").images
    assert [image.read() for image in images] == [row["bytes"] for row in rows]


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_damage_is_one_line_or_another_value_and_never_more(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "x.parquet", values(), compression=compression, row_group_size=60, data_page_size=20_000)
    good = path.read_bytes()
    rng = np.random.default_rng(1)
    reasons: set[str] = set()
    whole = read_parquet([path], "train").images
    for turn in range(60):
        damaged = tmp_path / f"{turn}.parquet"  # another name: page tables are remembered
        images = [image._replace(chunk=image.chunk._replace(path=str(damaged))) for image in whole]
        content = bytearray(good)
        end = max(image.chunk.start + image.chunk.num_bytes for image in images)
        # Where the headers of pages, their levels and lengths lie, and anywhere.
        place = images[0].chunk.start + int(rng.integers(40)) if turn % 2 else int(rng.integers(end))
        content[place] ^= 1 << int(rng.integers(8))
        damaged.write_bytes(content[: int(rng.integers(end))] if turn % 5 == 0 else content)
        for image in images:
            try:
                image.read()
            except ValueError as error:
                assert "\n" not in str(error)
                reasons.add(str(error).split(":")[0])
    assert reasons == {"damaged parquet", "null instead of an image"}


@pytest.mark.parametrize(
    ("compression", "version"), [("gzip", "2.0"), ("snappy", "2.0"), ("none", "2.0"), ("zstd", "1.0")]
)
def test_no_page_header_ends_a_run(tmp_path: Path, compression: str, version: str) -> None:
    """Every byte of a header takes every value: of a page so small that its sizes take one byte, and yet is packed."""
    options = {"compression": compression, "data_page_version": version, "use_dictionary": False}
    path = write(tmp_path / "x.parquet", [b"a" * 20, None, b"a" * 19], write_statistics=False, **options)
    good, (image, *_) = path.read_bytes(), read_parquet([path], "train").images
    with opened(path) as content:
        _, size = pages._page_header(content, image.chunk.start, len(good))
    reasons = set()
    for place in range(image.chunk.start, image.chunk.start + size):
        for value in range(256):
            with path.open("r+b") as file:
                file.seek(place)
                file.write(bytes([value]))
            pages._page_table.cache_clear()
            pages._values.cache_clear()
            try:
                image.read()
            except (ValueError, OSError) as error:  # what `SourceImage` promises
                reasons.add(str(error).split(":")[0])
        path.write_bytes(good)
    assert "damaged parquet" in reasons
