"""Files with one class per line, in the order of their numbers, beside files that have only numbers: `synset.txt`."""

import re
from collections.abc import Iterable
from pathlib import Path

from ..labels import class_id_of, require_unicode
from ..lists.text_table import class_lines
from ..litter import is_image_name
from ..remarks import Remarks

CLASS_FILES = ("synset.txt", "synset_words.txt", "synsets.txt", "classes.txt", "class_names.txt", "labels.txt")
_SYNSET = re.compile(r"(n[0-9]{8})[\s,:]+(\S.*)")
_FIELDS = re.compile(r"[\s,;]+")
_NUMBERED = re.compile(r"([0-9]{1,6})[\s,:]+(\S.*)")


class ClassFile:
    """The classes by number: their ids, and names for those that have both, as in `n01440764 tench, Tinca tinca`."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path = path
        lines = _without_numbers(lines)
        pairs = [found.groups() if (found := _SYNSET.fullmatch(line)) else (line, line) for line in lines]
        self.ids = tuple(class_id_of(class_id) for class_id, _ in pairs)
        self.names = {class_id_of(class_id): name for class_id, name in pairs}


def _without_numbers(lines: list[str]) -> list[str]:
    """The classes in lines such as `0:daisy`, if all are numbered from 0 on; other numbers are part of a name."""
    found = [_NUMBERED.fullmatch(line) for line in lines]
    if not all(one is not None and int(one[1]) == i for i, one in enumerate(found)):
        return lines
    return [one[2] for one in found if one is not None]


def class_file_in(folders: Iterable[Path], remarks: Remarks) -> ClassFile | None:
    """The first such file in `folders`; None if there is none, or if it repeats lines or lists images.

    Raises InputError for an empty line between others, and names that are not valid Unicode.
    """
    path = next((path for folder in folders for name in CLASS_FILES if (path := folder / name).is_file()), None)
    if path is None:
        return None
    lines = class_lines(path)
    if lines and all(is_image_name(_FIELDS.split(line)[0]) for line in lines):
        remarks.note(f"{path}: not used, since its lines are names of images, not classes")
        return None
    remarks.used.add(str(path))
    found = ClassFile(path, lines)
    if len({*found.ids}) != len(lines):
        remarks.note(f"{path}: not used, since its lines repeat, so that they are not classes")
        return None
    for class_id, name in found.names.items():
        require_unicode(class_id, path)
        require_unicode(name, path)
    return found
