"""Class names, from files that downloads have beside their splits."""

import json
from pathlib import Path

from ....errors import InputError
from ..lists.text_table import text_lines
from ..remarks import Remarks

WORDS_NAME, IDS_NAME = "words.txt", "wnids.txt"  # Tiny ImageNet
LABELS_NAME = "Labels.json"  # ImageNet-100


def class_names(source: Path, remarks: Remarks) -> dict[str, str]:
    """Class names by class id, from `words.txt` beside `wnids.txt`, else from `Labels.json`; empty without them.

    Raises InputError for a `Labels.json` that is not a JSON object of strings.
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
        raise InputError(f"{path}: expected a JSON object of class ids and names; correct it or move it away")
    return names
