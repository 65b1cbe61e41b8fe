"""Run by each of several processes: evaluates a weights file and writes the result; see `start_script`."""

import json
import os
import sys
from pathlib import Path

import torch

from alexkit.model import evaluate, load_network


def main(folder: Path, out: Path) -> None:
    torch.set_num_threads(1)
    network = load_network(folder / "w.safetensors", recipe=str(folder / "recipe.toml"), shards=folder)
    result = evaluate(network, folder, views=["center"], batch_size=8, keep_features=True)
    features = result.rows[0].features_ND
    assert features is not None
    numbers = {
        "rows": result.metrics()["rows"],
        "keys": list(result.keys),
        "probabilities": result.rows[0].probabilities["center"].tolist(),
        "features": features.sum(1).tolist(),
    }
    out.write_text(json.dumps(numbers))


if __name__ == "__main__":
    os.dup2(os.open(globals()["STDERR"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    os.environ.update(globals()["ENVIRONMENT"])
    main(**globals()["ARGUMENTS"])
