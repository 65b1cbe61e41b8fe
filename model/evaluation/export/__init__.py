"""A trained network for programs that do not know alexkit."""

from .check import Agreement, check_export, run_onnx, run_torch_program
from .onnx_file import write_network_onnx
from .preprocessing import require_ours, write_preprocessing
from .timm_folder import run_timm, write_timm_folder
from .torch_program import write_torch_program
from .web import write_web_page

__all__ = [
    "Agreement",
    "check_export",
    "require_ours",
    "run_onnx",
    "run_timm",
    "run_torch_program",
    "write_network_onnx",
    "write_preprocessing",
    "write_timm_folder",
    "write_torch_program",
    "write_web_page",
]
