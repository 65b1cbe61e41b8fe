"""What has to happen to an image before an exported file reads it, in words and numbers, beside the file."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ....prep.format.files import whole_file
from ..trained import TrainedNetwork


def write_preprocessing(path: Path, network: TrainedNetwork) -> None:
    """Write a JSON file that says how the file beside it is fed, and its classes in the order of the outputs."""
    with whole_file(path) as file:
        file.write(json.dumps(preprocessing(network), indent=1).encode() + b"\n")


def preprocessing(network: TrainedNetwork) -> dict[str, Any]:
    """How an image becomes the file's input."""
    crop, pixels = network.recipe.data.crop, network.pixels
    steps = ["decode to upright RGB, uint8"]
    if pixels is not None:
        steps.append(
            f"shorter side to {pixels.size_px} px by the {pixels.filter} filter, antialiased; the central square of it"
        )
        if pixels.format == "jpeg":
            steps.append(
                f"encode as JPEG of quality {pixels.quality}, chroma {pixels.chroma}, and decode again (optional)"
            )
    steps.append(f"central crop of {crop} x {crop} px")
    steps.append("float32, gray levels 0-255, channels first; the mean is subtracted inside the file")
    return {
        "input": {"name": "images", "dtype": "float32", "shape": ["N", 3, crop, crop], "range": [0, 255]},
        "outputs": ["logits", "probabilities"],
        "steps": steps,
        "prepared_by": asdict(pixels) if pixels is not None else None,
        "classes": [asdict(entry) for entry in network.classes or ()],
        "weights_sha256": network.origin.sha256,
        "step": network.origin.step,
    }
