"""An image in a parquet file."""

from typing import NamedTuple

from ...storage.by_offset import shown
from ..inputs import Extra
from .pages import ColumnChunk, read_value


class ParquetImage(NamedTuple):
    """One row of a parquet file. All rows of a row group have the same `chunk`."""

    name: str
    label: int
    chunk: ColumnChunk
    row: int
    extras: tuple[Extra, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Size of the column in the whole row group, in bytes: a listing cannot tell the size of each image."""
        return self.chunk.num_bytes

    def read(self) -> bytes:
        """Return the content; see `SourceImage`."""
        return read_value(self.chunk, self.row)

    def labeled(self, label: int, class_id: str | None = None) -> "ParquetImage":
        """See `SourceImage`."""
        return self._replace(label=label, name=self.name if class_id is None else f"{class_id}/{self.name}")

    def keeping(self, extra: Extra) -> "ParquetImage":
        """See `SourceImage`."""
        return self._replace(extras=tuple(sorted((*self.extras, extra))))

    @property
    def container(self) -> str:
        """See `SourceImage`."""
        return shown(self.chunk.path)
