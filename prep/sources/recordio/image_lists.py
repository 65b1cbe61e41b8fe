"""The `.lst` beside a `.rec`, from which im2rec made it: lines `INDEX<tab>LABEL<tab>PATH`, possibly several labels.

The index is the id of the record. The path gives the image its file name and, if the images of each label are in a
folder of their own, the class its id.
"""

from array import array
from hashlib import sha256
from pathlib import Path

import numpy as np

from ....errors import InputError
from ..lists.text_table import text_lines
from ..numbered.table import Folders, note_folder


class ImageList:
    """The lines of one `.lst`, packed, since there can be more than a million."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folders: Folders = {}
        self._ids, self._lines = array("Q"), array("Q")
        self._labels = array("f")  # as in records
        self._ends, self._names = array("Q"), bytearray()
        self._digest = sha256()
        self._sorted_N, self._order_N = np.empty(0, np.uint64), np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, line: int, index: int, label: float, path: str) -> None:
        """Add a line."""
        folder, _, name = path.rpartition("/")
        if label.is_integer() and label >= 0:
            note_folder(self.folders, int(label), folder)
        self._digest.update(f"{index}\t{label}\t{path}\n".encode("utf-8", "surrogateescape"))
        self._lines.append(line)
        self._ids.append(index)
        self._labels.append(label)
        self._names += name.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._names))

    @property
    def digest(self) -> bytes:
        """The same for lists of the same images in the same order."""
        return self._digest.digest()

    def finish(self) -> None:
        """Prepare `find`; raises InputError if an index is listed twice."""
        ids_N = np.array(self._ids, np.uint64)
        self._order_N = np.argsort(ids_N, kind="stable")
        self._sorted_N = ids_N[self._order_N]
        again_N = np.flatnonzero(self._sorted_N[1:] == self._sorted_N[:-1])
        if len(again_N):
            line = min(self._lines[int(self._order_N[at + 1])] for at in again_N.tolist())
            raise InputError(f"{self.path}, line {line}: its index is listed before; list every image once")

    def find(self, index: int) -> tuple[float, str] | None:
        """Label and file name of a record by its id."""
        at = int(self._sorted_N.searchsorted(np.uint64(index)))
        if at == len(self._sorted_N) or int(self._sorted_N[at]) != index:
            return None
        number = int(self._order_N[at])
        name = self._names[self._ends[number - 1] if number else 0 : self._ends[number]]
        return self._labels[number], name.decode("utf-8", "surrogateescape")


def read_image_list(rec: Path) -> ImageList | None:
    """The `.lst` of a `.rec`, if there is one; raises InputError, naming the line, if it cannot be read."""
    path = rec.with_suffix(".lst")
    if not path.is_file():
        return None
    found = ImageList(path)
    for number, line in text_lines(path):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) == 1:
            fields = line.split()  # as im2rec of C++ reads them
        if not any(fields):
            continue
        try:
            index, label, written = int(fields[0]), float(fields[1]), fields[-1]
        except (ValueError, IndexError):
            index, label, written = -1, 0.0, ""
        if len(fields) < 3 or not 0 <= index < 2**64 or not written:
            raise InputError(
                f"{path}, line {number}: {line.strip()[:80]!r}; expected INDEX, LABEL and PATH with tabs between them; "
                f"correct it, or remove the list to read {rec.name} without names"
            )
        found.add(number, index, label, written.replace("\\", "/"))
    found.finish()
    return found
