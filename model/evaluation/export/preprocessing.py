"""Describe how to prepare an image for an exported file, in words and numbers, in a JSON file beside it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ....errors import InputError
from ....prep.format.files import whole_file
from ..trained import TrainedNetwork


def write_preprocessing(path: Path, network: TrainedNetwork) -> None:
    """Write a JSON file with the preprocessing for the exported file and its classes in the order of the outputs."""
    with whole_file(path) as file:
        file.write(json.dumps(preprocessing(network), indent=1).encode() + b"\n")


def require_ours(path: Path, key: str) -> None:
    """Raise InputError if a JSON file that an export would replace exists and lacks `key`, which exports write."""
    if not path.exists():
        return
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or key not in data:
        raise InputError(f"{path}: would be replaced, but 'alexeval export' did not write it; choose another name")


def preprocessing(network: TrainedNetwork) -> dict[str, Any]:
    """The steps from an image to the file's input, as plain JSON data."""
    crop, pixels = network.recipe.data.crop, network.pixels
    steps = ["decode to upright RGB, uint8"]
    if pixels is not None:
        steps.append(
            f"resize the shorter side to {pixels.size_px} px with the {pixels.filter} filter, antialiased; take the "
            "central square"
        )
        if pixels.format == "jpeg":
            steps.append(
                f"encode as JPEG with quality {pixels.quality} and chroma {pixels.chroma}, and decode again (optional)"
            )
    steps.append(f"central crop of {crop} x {crop} px")
    steps.append("convert to float32, gray levels 0-255, channels first; the file itself subtracts the mean")
    return {
        "input": {"name": "images", "dtype": "float32", "shape": ["N", 3, crop, crop], "range": [0, 255]},
        "outputs": ["logits", "probabilities"],
        "steps": steps,
        "prepared_by": asdict(pixels) if pixels is not None else None,
        "classes": [asdict(entry) for entry in network.classes or ()],
        "weights_sha256": network.origin.sha256,
        "step": network.origin.step,
    }
