"""Names of classes, from files that downloads have beside their splits."""

import json
from pathlib import Path

from ....errors import InputError
from ..lists.text_table import text_lines
from ..remarks import Remarks

WORDS_NAME, IDS_NAME = "words.txt", "wnids.txt"  # Tiny ImageNet
LABELS_NAME = "Labels.json"  # ImageNet-100


def class_names(source: Path, remarks: Remarks) -> dict[str, str]:
    """The names of the classes by class id: of `words.txt` beside `wnids.txt`, else of `Labels.json`; empty without.

    Raises InputError for a `Labels.json` that is no JSON object of texts.
    """
    words, ids, labels = source / WORDS_NAME, source / IDS_NAME, source / LABELS_NAME
    if words.is_file() and ids.is_file():
        remarks.used.update((str(words), str(ids)))
        rows = (line.rstrip("\r\n").partition("\t") for _, line in text_lines(words))
        return {class_id: name for class_id, _, name in rows if name}
    if labels.is_file():
        remarks.used.add(str(labels))
        return _of_json(labels)
    return {}


def _of_json(path: Path) -> dict[str, str]:
    try:
        names = json.loads(path.read_text("utf-8"))
    except ValueError as error:  # json.JSONDecodeError, UnicodeDecodeError
        raise InputError(f"{path}: not JSON ({error}); correct it or move it away") from None
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{path}: expected an object of class ids and names; correct it or move it away")
    return names
