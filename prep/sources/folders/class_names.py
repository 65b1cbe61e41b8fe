"""Class names, from files that downloads have beside their splits."""

import json
from collections.abc import Collection
from pathlib import Path

from ..labels import class_id_of, require_unicode
from ..lists.text_table import text_lines
from ..remarks import Remarks

WORDS_NAME, IDS_NAME = "words.txt", "wnids.txt"  # Tiny ImageNet
LABELS_NAME = "Labels.json"  # ImageNet-100
MAX_LABELS_BYTES = 2**24


def class_names(source: Path, class_ids: Collection[str], remarks: Remarks) -> dict[str, str]:
    """The names of the classes by class id: from `words.txt` next to `wnids.txt`, else from `Labels.json`.

    Empty without these files. Files that name none of the classes, and a `Labels.json` that is not an object of
    strings, belong to something else; they are not used.

    Raises InputError for names that are not valid Unicode.
    """
    words, ids, labels = source / WORDS_NAME, source / IDS_NAME, source / LABELS_NAME
    if words.is_file() and ids.is_file():
        names, used = _words_in(words), [words, ids]
    elif labels.is_file() and labels.stat().st_size <= MAX_LABELS_BYTES:
        names, used = _names_in(labels), [labels]
    else:
        return {}
    names = {class_id: names[class_id] for class_id in class_ids if class_id in names}
    if names:
        remarks.used.update(map(str, used))
    for name in names.values():
        require_unicode(name, used[0])
    return names


def _words_in(path: Path) -> dict[str, str]:
    rows = (line.rstrip("\r\n").partition("\t") for _, line in text_lines(path))
    return {class_id: name for class_id, _, name in rows if name}


def _names_in(path: Path) -> dict[str, str]:
    try:
        names = json.loads(path.read_bytes())  # bytes may begin with a byte order mark
    except (ValueError, RecursionError):  # json.JSONDecodeError, UnicodeDecodeError
        return {}
    is_table = isinstance(names, dict) and all(isinstance(name, str) for name in names.values())
    return {class_id_of(class_id): name for class_id, name in names.items()} if is_table else {}
