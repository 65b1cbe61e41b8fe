"""Write the report folder: page, metrics and tables."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ....extras import require
from ....prep import ShardSet
from ....prep.format.files import whole_file
from ..result import EvaluationResult
from ..retrieval import CodeComparison
from ..trained import TrainedNetwork
from .neighbors import TrainingNeighbors
from .page import page_context
from .tables import write_csv, write_parquet


def write_report(
    folder: Path,
    result: EvaluationResult,
    networks: Sequence[TrainedNetwork],
    shard_set: ShardSet,
    *,
    neighbors: TrainingNeighbors | None = None,
    codes: CodeComparison | None = None,
    examples: Sequence[str] = (),
    seed: int = 0,
) -> None:
    """Write `metrics.json`, `predictions.csv`, `per_class.csv`, `confusions.csv` and `index.html` into `folder`.

    If pyarrow is installed, also write `predictions.parquet`, which preserves column types.

    Raises ImportError without Jinja2.

    Args:
        folder: the report folder; it is created if necessary, and existing files are replaced.
        result: the evaluation.
        networks: the evaluated networks.
        shard_set: the set that was evaluated.
        neighbors: nearest training images of every image; None leaves out the sections that need them.
        codes: comparison of short codes with the exact search; None leaves it out.
        examples: keys of the images to show with their guesses; () chooses them by `seed`.
        seed: seed for choosing the examples.
    """
    context = page_context(result, networks, shard_set, neighbors=neighbors, examples=examples, seed=seed)
    has_parquet = find_spec("pyarrow") is not None
    page = render({**context, "codes": codes, "has_parquet": has_parquet})
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "metrics.json") as file:
        file.write(json.dumps(result.metrics(), indent=1).encode() + b"\n")
    predictions = result.predictions()
    write_csv(folder / "predictions.csv", predictions)
    if has_parquet:
        write_parquet(folder / "predictions.parquet", predictions)
    else:
        (folder / "predictions.parquet").unlink(missing_ok=True)  # left by an earlier report with other numbers
    write_csv(folder / "per_class.csv", result.per_class())
    write_csv(folder / "confusions.csv", result.confusions())
    with whole_file(folder / "index.html") as file:
        file.write(page.encode("utf-8", "replace"))


def render(context: dict[str, object]) -> str:
    """Render the page as self-contained HTML; everything in `context` is escaped, except the charts."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__ or "", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(context)


def require_libraries() -> None:
    """Raise ImportError with installation instructions if a library that a report needs is missing."""
    require("jinja2", "matplotlib")
