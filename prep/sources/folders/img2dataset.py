"""The files that img2dataset writes: `00000/000000000.jpg` with `.json` and `.txt`, and metadata in `00000.parquet`.

Images have a label only if the table that was downloaded had one: it is then a key of the JSON files.
"""

import json
import re
from pathlib import Path

from ....errors import InputError
from ...format.manifest import UNLABELED
from ..extras import column_extras
from ..inputs import SourceSplit
from ..labels import LabeledImages, Unlabeled, raw_label
from ..lists.columns import LABEL_NAMES, find_column
from ..options import SourceOptions
from .listing import Folder

MAX_JSON_BYTES = 2**20
_SHARD = re.compile(r"\d{5,}")


def is_img2dataset(folder: Folder) -> bool:
    """Whether all folders are numbered and have their parquet table or statistics beside them."""
    names = folder.folders
    return bool(names) and all(
        _SHARD.fullmatch(name) and (folder.has(f"{name}.parquet") or folder.has(f"{name}_stats.json")) for name in names
    )


def read_img2dataset(folder: Folder, split: str, options: SourceOptions) -> SourceSplit:
    """The split of all images; raises InputError for an image without a label, Unlabeled if that is the first."""
    rows = LabeledImages()
    for name in folder.folders:
        shard = folder.child(name)
        for file in shard.images((*options.keep, "json")):
            row = _json_beside(shard, file.name)
            label = raw_label(row[key]) if (key := _label_key(row, file.path, options)) else None
            if label is None and not options.unlabeled:
                raise (InputError if rows else Unlabeled)(
                    f"{file.path}: its .json has no label among {', '.join(sorted(row)) or '(nothing)'}; name the key "
                    "with --label-key, or pass --unlabeled to store images without labels"
                )
            extras = shard.files_beside(file, options.keep)
            extras = tuple(sorted((*extras, *column_extras(options.keep, row)))) if options.keep else ()
            rows.add(UNLABELED if label is None else label, file.image(f"{name}/{file.name}", extras))
        folder.forget(name)
    if not rows:
        raise InputError(f"{folder.where}: img2dataset folders without images; download them again")
    return rows.split(split, lambda image: str(folder.where / image.name))


def _label_key(row: dict[str, object], where: str, options: SourceOptions) -> str | None:
    wanted = options.label_key or options.label_column
    if wanted is not None:
        return wanted if wanted in row else None
    return find_column(tuple(row), LABEL_NAMES, None, "--label-key", where)


def _json_beside(folder: Folder, file_name: str) -> dict[str, object]:
    path = folder.where / f"{Path(file_name).stem}.json"
    try:
        with path.open("rb") as file:
            row = json.loads(file.read(MAX_JSON_BYTES))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); download the images again") from None
    return row if isinstance(row, dict) else {}
