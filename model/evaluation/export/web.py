"""Export a page that runs a network in the browser with onnxruntime-web and shows five classes for a dropped picture.

The page loads nothing from other sites. The runtime, 13 MB of WebAssembly, is not part of alexkit: `npm install
--prefix FOLDER onnxruntime-web` installs it where the page looks for it.
"""

import json
from pathlib import Path

from ....errors import InputError
from ....prep.format.files import whole_file
from ..trained import TrainedNetwork
from .onnx_file import write_network_onnx
from .preprocessing import preprocessing

RUNTIME = "node_modules/onnxruntime-web/dist"
PAGE = Path(__file__).with_name("web.html")


def write_web_page(folder: Path, network: TrainedNetwork) -> None:
    """Write `index.html` and `network.onnx` into `folder`, which is created if necessary.

    Raises InputError if the preparation of the run's images is unknown, and ImportError without onnx.
    """
    if network.pixels is None:
        raise InputError(f"{network.name}: the preparation of its training images is unknown; name them with --shards")
    folder.mkdir(parents=True, exist_ok=True)
    write_network_onnx(folder / "network.onnx", network)
    about = preprocessing(network) | {"size_px": network.pixels.size_px, "crop": network.recipe.data.crop}
    text = PAGE.read_text(encoding="utf-8").replace("{{ runtime }}", RUNTIME)
    # A "<" in a class name must not end the script element.
    text = text.replace("{{ about }}", json.dumps(about).replace("<", "\\u003c"))
    with whole_file(folder / "index.html") as file:
        file.write(text.encode())
