"""Files with one class per line, in the order of their numbers, beside files that have only numbers: `synset.txt`."""

import re
from collections.abc import Iterable
from pathlib import Path

from ..labels import class_id_of, require_unicode
from ..lists.text_table import class_lines
from ..remarks import Remarks

CLASS_FILES = ("synset.txt", "synset_words.txt", "synsets.txt", "classes.txt", "class_names.txt", "labels.txt")
_SYNSET = re.compile(r"(n[0-9]{8})[\s,:]+(\S.*)")


class ClassFile:
    """The classes by number: their ids, and names for those that have both, as in `n01440764 tench, Tinca tinca`."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path = path
        pairs = [found.groups() if (found := _SYNSET.fullmatch(line)) else (line, line) for line in lines]
        self.ids = tuple(class_id_of(class_id) for class_id, _ in pairs)
        self.names = {class_id_of(class_id): name for class_id, name in pairs}


def class_file_in(folders: Iterable[Path], remarks: Remarks) -> ClassFile | None:
    """The first such file in `folders`; None if there is none, or if its lines repeat and so are not classes.

    Raises InputError for an empty line between others, and names that are not valid Unicode.
    """
    path = next((path for folder in folders for name in CLASS_FILES if (path := folder / name).is_file()), None)
    if path is None:
        return None
    remarks.used.add(str(path))
    lines = class_lines(path)
    found = ClassFile(path, lines)
    if len({*found.ids}) != len(lines):
        remarks.note(f"{path}: not used, since its lines repeat, so that they are not classes")
        return None
    for class_id, name in found.names.items():
        require_unicode(class_id, path)
        require_unicode(name, path)
    return found
