"""Which extra of `pip install 'alexkit[...]'` installs a missing library: one table for the whole package."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

_DALI = "NVIDIA DALI: pip install 'alexkit[cu12]', or 'alexkit[cu13]' if PyTorch is built for CUDA 13 (Linux only)"

NEEDED: dict[str, str] = {
    "torch": "batches need PyTorch: pip install 'alexkit[loader]'; training: pip install 'alexkit[train]'",
    "nvidia": f"loading batches needs {_DALI}",
    "safetensors": "reading and writing weights needs safetensors: pip install 'alexkit[train]'",
    "pydantic": "manifests and recipes need pydantic: pip install pydantic",
    "tensorboard": "training logs need TensorBoard: pip install 'alexkit[train]'",
    "matplotlib": "drawing pictures needs Matplotlib: pip install 'alexkit[report]'",
    "jinja2": "report pages need Jinja2: pip install 'alexkit[report]'",
    "pyarrow": "reading and writing parquet needs pyarrow: pip install 'alexkit[parquet]'",
    "onnx": "writing ONNX needs the package onnx: pip install 'alexkit[onnx]'",
    "obstore": "object stores (s3://, gs://, az://, https://, hf://) need obstore: pip install 'alexkit[remote]'",
    "ray": "the ray engine needs Ray: pip install 'alexkit[ray]'",
    "huggingface_hub": "the Hugging Face Hub needs huggingface_hub: pip install 'alexkit[hub]'",
    "wandb": "this tracker needs wandb: pip install 'alexkit[wandb]'",
    "trackio": "this tracker needs trackio: pip install 'alexkit[trackio]'",
    "timm": "checking a folder for timm needs timm: pip install timm",
    "onnxruntime": "running ONNX files needs onnxruntime: pip install 'alexkit[onnx]'",
    "cykooz_resizer": "this filter needs cykooz-resizer: pip install cykooz-resizer, or use --filter area",
}
"""The message for a missing library, by its import name."""


def explain(error: ImportError) -> str | None:
    """How to install the library that `error` did not find; None if it is not in the table."""
    return NEEDED.get((error.name or "").split(".")[0]) if isinstance(error, ModuleNotFoundError) else None


def require(*modules: str) -> None:
    """Raise ImportError with the pip command for the first of these that is not installed, without importing any."""
    for name in modules:
        if find_spec(name) is None:
            raise ImportError(NEEDED[name], name=name)


@contextmanager
def explained_imports() -> Iterator[None]:
    """Within this block, importing a missing library raises ImportError with the pip command that installs it."""
    try:
        yield
    except ModuleNotFoundError as error:
        words = explain(error)
        if words is None:
            raise
        raise ImportError(words, name=error.name) from error
