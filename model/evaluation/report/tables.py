"""Write tables as files: CSV, parquet, a challenge's submission format, timm's results. All writes are atomic."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ....extras import explained_imports, require
from ....prep.build.plan import photo_name
from ....prep.format.files import whole_file
from ....prep.format.manifest import ClassEntry
from ....prep.sources.ilsvrc.devkit import open_devkit
from ..result import EvaluationResult, Predictions, Table
from ..trained import TrainedNetwork

PREDICTION_SUFFIXES = (".csv", ".parquet", ".txt")
# The columns of the results files in timm's repository.
TIMM_COLUMNS = (
    "model", "top1", "top1_err", "top5", "top5_err", "param_count", "img_size", "crop_pct", "interpolation"
)  # fmt: skip


def write_csv(path: Path, table: Table) -> None:
    """Write a table as CSV, with seven significant digits for floats."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table)
    writer.writerows(zip(*(map(_cell, column.tolist()) for column in table.values()), strict=True))
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


def _cell(value: Any) -> Any:
    return f"{value:.7g}" if isinstance(value, float) else value


def write_parquet(path: Path, table: Table) -> None:
    """Write a table as parquet. Raises ImportError without pyarrow."""
    with explained_imports():
        import pyarrow as arrow
        from pyarrow import parquet
    with whole_file(path) as file:
        parquet.write_table(arrow.table({name: arrow.array(column) for name, column in table.items()}), file)


def submission_numbers(classes: Sequence[ClassEntry], devkit: Path | None) -> NDArray[np.int64]:
    """The number of each class on a challenge's server, int64 (classes,).

    Args:
        classes: the class table in the order of the networks' outputs.
        devkit: ILSVRC's devkit, whose numbers follow neither WordNet ids nor names; None numbers the table from 1.

    Raises InputError if the classes are WordNet ids and there is no devkit, and for a class that the devkit lacks.
    """
    if devkit is None:
        if all(re.fullmatch(r"n\d{8}", entry.id) for entry in classes):
            raise InputError(
                "--predictions FILE.txt: ILSVRC's server uses the class numbers of its devkit, which do not follow "
                "from the WordNet ids of this set; name the devkit with --devkit"
            )
        return np.arange(1, len(classes) + 1)
    numbers = {id: number for number, id in open_devkit(devkit).ids.items()}
    if lacking := next((entry.id for entry in classes if entry.id not in numbers), None):
        raise InputError(
            f"--devkit {devkit}: lacks the class {lacking!r} of this set; name the devkit of the set's challenge "
            "(for a weights file, the classes are read from train/ beside the images)"
        )
    return np.array([numbers[entry.id] for entry in classes])


def write_predictions(path: Path, result: EvaluationResult, numbers_C: NDArray[np.int64] | None = None) -> None:
    """Write predictions in the format given by the file's suffix.

    `.csv` and `.parquet`: key, label, five classes with probabilities. `.txt`: the submission format of ILSVRC, five
    class numbers per line, images in the order of their file names.

    Args:
        path: the file.
        result: the evaluation.
        numbers_C: for `.txt`, `submission_numbers`; None numbers the class table from 1, for other challenges.

    Raises InputError for `.txt` without numbers if the classes are ILSVRC's.
    """
    if path.suffix == ".parquet":
        write_parquet(path, result.predictions())
    elif path.suffix == ".csv":
        write_csv(path, result.predictions())
    else:
        ids = [entry.id for entry in result.classes]
        numbers_C = submission_numbers(result.classes, None) if numbers_C is None else numbers_C
        order = np.argsort(np.array([photo_name(key, ids) for key in result.keys]), kind="stable")
        lines = (" ".join(map(str, row)) for row in numbers_C[result.guesses[0][order]].tolist())
        with whole_file(path) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())


def check_predictions_file(path: Path) -> None:
    """Raise InputError if the suffix of a file for predictions is unknown, ImportError for parquet without pyarrow."""
    if path.suffix not in PREDICTION_SUFFIXES:
        raise InputError(f"--predictions {path}: expected a name that ends in {', '.join(PREDICTION_SUFFIXES)}")
    if path.suffix == ".parquet":
        require("pyarrow")


def read_timm_rows(path: Path) -> str:
    """The content of a CSV with timm's columns, "" if there is none. Raises InputError if it has other columns."""
    try:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise InputError(f"--results {path}: not a text file ({error}); name another file") from None
    if old and old.partition("\n")[0].strip() != ",".join(TIMM_COLUMNS):
        raise InputError(f"--results {path}: its columns are not those of timm's results files; name another file")
    return old


def append_timm_rows(path: Path, result: EvaluationResult, networks: Sequence[TrainedNetwork]) -> None:
    """Append one row per network, for its kind with the most views, to a CSV with the columns of timm's results files.

    Raises InputError for a file with other columns and for a set without labels.
    """
    if not result.num_labeled:
        raise InputError(f"--results {path}: {result.shards} has no labels, so there is nothing to append")
    old = read_timm_rows(path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not old:
        writer.writerow(TIMM_COLUMNS)
    for network, row, scores in zip(networks, result.rows, result.scores, strict=False):
        writer.writerow(_timm_row(network, row, scores[row.main_view], result.has_top5))
    with whole_file(path) as file:
        file.write((old + text.getvalue()).encode())


def _timm_row(network: TrainedNetwork, row: Predictions, score: Any, has_top5: bool) -> list[str]:
    top1, top5 = 100 * score.top1_error, 100 * score.top5_error if has_top5 else 0.0
    crop, pixels = network.recipe.data.crop, network.pixels
    millions = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return [
        f"alexnet_{network.recipe.name}.{Path(row.name).name}_{row.main_view}",
        *(f"{value:.3f}" for value in (100 - top1, top1, 100 - top5, top5)),
        f"{millions:.2f}",
        str(crop),
        f"{crop / pixels.size_px:.3f}" if pixels else "",
        pixels.filter if pixels else "",
    ]
