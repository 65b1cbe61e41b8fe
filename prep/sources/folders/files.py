"""Files in the listing of a folder: each becomes an image or an extra of one."""

from typing import NamedTuple, Protocol

from ..inputs import Extra, FileImage, SourceImage


class File(Protocol):
    """A file in a listing."""

    @property
    def name(self) -> str:
        """Its name without folders."""

    @property
    def path(self) -> str:
        """Its path, for messages and for reading text files on a disk."""

    @property
    def num_bytes(self) -> int:
        """Its size."""

    def image(self, name: str, extras: tuple[Extra, ...] = (), label: int = 0) -> SourceImage:
        """The file as an image."""

    def extra(self, ext: str) -> Extra:
        """The file as an extra of an image, under the extension `ext`."""


class DiskFile(NamedTuple):
    """A file on a disk."""

    name: str
    path: str
    num_bytes: int

    def image(self, name: str, extras: tuple[Extra, ...] = (), label: int = 0) -> SourceImage:
        """See `File`."""
        return FileImage(name, label, self.path, self.num_bytes, 0, extras)

    def extra(self, ext: str) -> Extra:
        """See `File`."""
        return Extra(ext, b"", self.path, 0, self.num_bytes)
