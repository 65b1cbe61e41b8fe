"""Class names, from files that downloads have beside their splits."""

import contextlib
import json
from pathlib import Path

from ..lists.text_table import text_lines
from ..remarks import Remarks

WORDS_NAME, IDS_NAME = "words.txt", "wnids.txt"  # Tiny ImageNet
LABELS_NAME = "Labels.json"  # ImageNet-100
MAX_LABELS_BYTES = 2**24


def class_names(source: Path, remarks: Remarks) -> dict[str, str]:
    """The names of the classes by class id: from `words.txt` next to `wnids.txt`, else from `Labels.json`.

    Empty without these files. A `Labels.json` that is not an object of strings belongs to something else; it is not
    used.
    """
    words, ids, labels = source / WORDS_NAME, source / IDS_NAME, source / LABELS_NAME
    if words.is_file() and ids.is_file():
        remarks.used.update((str(words), str(ids)))
        rows = (line.rstrip("\r\n").partition("\t") for _, line in text_lines(words))
        return {class_id: name for class_id, _, name in rows if name}
    if labels.is_file() and labels.stat().st_size <= MAX_LABELS_BYTES:
        with contextlib.suppress(ValueError):  # json.JSONDecodeError, UnicodeDecodeError
            names = json.loads(labels.read_text("utf-8"))
            if isinstance(names, dict) and names and all(isinstance(name, str) for name in names.values()):
                remarks.used.add(str(labels))
                return names
    return {}
