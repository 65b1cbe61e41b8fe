"""Bytes to upright RGB, to a fitted square, to encoded bytes; and stored images back to pixels.

Names are loaded when they are first used: decoding needs no resizer.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .decode import decode_rgb
    from .fit import fit_image
    from .geometry import central_square
    from .prepare import Prepared, encode_image, prepare_image, software_versions
    from .running_sums import RunningSums
    from .stored import decode_stored

__all__ = [
    "Prepared",
    "RunningSums",
    "central_square",
    "decode_rgb",
    "decode_stored",
    "encode_image",
    "fit_image",
    "prepare_image",
    "software_versions",
]

_LAZY = {
    "Prepared": ".prepare",
    "RunningSums": ".running_sums",
    "central_square": ".geometry",
    "decode_rgb": ".decode",
    "decode_stored": ".stored",
    "encode_image": ".prepare",
    "fit_image": ".fit",
    "prepare_image": ".prepare",
    "software_versions": ".prepare",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name], __package__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
