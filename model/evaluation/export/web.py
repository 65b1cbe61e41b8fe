"""A page that runs a network in the browser by onnxruntime-web: a person drops a picture and reads five classes.

The page fetches nothing from elsewhere. The runtime, 13 MB of WebAssembly that most users do not want, is not part of
alexkit: `npm install --prefix FOLDER onnxruntime-web` puts it where the page looks for it.
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
    """Write `index.html` and `network.onnx` into `folder`, made when it is not there.

    Raises InputError when the run does not know how its images were prepared, ImportError without onnx.
    """
    if network.pixels is None:
        raise InputError(f"{network.name}: how its training images were prepared is not known; name them with --shards")
    folder.mkdir(parents=True, exist_ok=True)
    write_network_onnx(folder / "network.onnx", network)
    about = preprocessing(network) | {"size_px": network.pixels.size_px, "crop": network.recipe.data.crop}
    text = PAGE.read_text(encoding="utf-8").replace("{{ runtime }}", RUNTIME)
    # "<" in a class name must not end the script element.
    text = text.replace("{{ about }}", json.dumps(about).replace("<", "\\u003c"))
    with whole_file(folder / "index.html") as file:
        file.write(text.encode())
