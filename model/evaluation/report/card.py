"""The model card of a shared network: what it is, how well it performs, and how to use it."""

import json
from collections.abc import Mapping
from typing import Any

from .... import __version__
from ....hub import CARD_MARKS
from ...runs.run import Run
from ..views import TITLES

Row = tuple[str, int, str, Mapping[str, float]]
"""The split that is scored, the number of images, the views, and the numbers."""
_VIEWS: dict[str, str] = {str(kind): title for kind, title in TITLES.items()}


def model_card(run: Run, step: int, metrics: Mapping[str, Any] | None, name: str) -> str:
    """The README.md of a model repository, with metadata for the Hub.

    Args:
        run: the run.
        step: the step of the shared checkpoint.
        metrics: `EvaluationResult.metrics` of this run; None uses the validation in the run's own result, if that is of
            the same step.
        name: the repository, ORG/NAME.
    """
    recipe, data = run.recipe_at(step), run.data
    training = recipe.training
    rows = _evaluated(metrics) if metrics else _validated(run, step)
    results = "".join(f"| {split} | {images:,} | {view} | {_numbers(one)} |\n" for split, images, view, one in rows)
    table = f"| images of | number | views | top-1 error | top-5 error |\n|---|---|---|---|---|\n{results}"
    pixels = data.pixels
    prepared = (
        f"Images are prepared by `alexprep`: {pixels.size_px} px, fit {pixels.fit}, filter {pixels.filter}."
        if pixels
        else "The preparation of its images is not recorded."
    )
    shown = ", ".join(entry.name for entry in data.classes[:20])
    more = f" and {len(data.classes) - 20:,} more" if len(data.classes) > 20 else ""
    short = name.split("/")[-1]
    return f"""---
library_name: alexkit
pipeline_tag: image-classification
tags:
- alexkit
- alexnet
- image-classification
{_index(short, rows)}---

{CARD_MARKS["model"]}

# {short}

Trained with the recipe `{recipe.name}` of alexkit {__version__}: network `{recipe.network.kind}`, after step {step:,};
batch size {training.batch_size}, seed {training.seed}, {training.epochs} epochs requested. The full recipe is in
`config.json`.

{table if rows else "It has not been scored."}

{prepared} It knows {len(data.classes):,} classes: {shown}{more}.

The permitted uses of the weights depend on the license of the images they were trained on.

```
hf download {name} --local-dir runs/{short}
alexeval predict runs/{short} photo.jpg
```

`checkpoints/step-{step:08d}/weights.safetensors` holds plain tensors, readable without alexkit.
"""


def _evaluated(metrics: Mapping[str, Any]) -> list[Row]:
    """One row for each kind of views with which the first network was scored."""
    first = metrics["rows"][0]
    views = [(title, first[view]) for view, title in _VIEWS.items() if view in first]
    return [(metrics["split"], int(one["images"]), title, one) for title, one in views]


def _validated(run: Run, step: int) -> list[Row]:
    """The validation at the end of the run; empty if it is unfinished, was not validated, or ended at another step."""
    result = run.result
    if result is None or "images" not in result or result["steps"] != step:
        return []
    return [(str(result.get("split", "validation")), int(result["images"]), _VIEWS["center"], result)]


def _numbers(one: Mapping[str, float]) -> str:
    top5 = f"{one['top5_error']:.2%}" if "top5_error" in one else "–"
    return f"{one['top1_error']:.2%} | {top5}"


def _index(short: str, rows: list[Row]) -> str:
    """The metadata for results on the Hub; values are JSON, which is valid YAML."""
    if not rows:
        return ""
    parts = [f"model-index:\n- name: {json.dumps(short)}\n  results:\n"]
    for split, _, view, one in rows:
        dataset = json.dumps({"name": f"{split} images", "type": "image-classification", "split": split})
        values = [
            json.dumps({"type": "accuracy", "name": f"{title} accuracy, {view}", "value": round(1 - one[key], 6)})
            for title, key in (("top-1", "top1_error"), ("top-5", "top5_error"))
            if key in one
        ]
        parts.append('  - task: {"type": "image-classification"}\n')
        parts.append(f"    dataset: {dataset}\n    metrics:\n" + "".join(f"    - {value}\n" for value in values))
    return "".join(parts)
