"""Decodes bytes to upright RGB, fits it to a square and encodes it; decodes stored images back to pixels.

Names are loaded on first use: decoding needs no resizer.
"""

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .decode import decode_rgb
    from .fit import fit_image
    from .geometry import central_square
    from .prepare import Prepared, encode_image, prepare_image, software_versions
    from .running_sums import RunningSums
    from .stored import decode_stored
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Prepared": ".prepare",
            "RunningSums": ".running_sums",
            "central_square": ".geometry",
            "decode_rgb": ".decode",
            "decode_stored": ".stored",
            "encode_image": ".prepare",
            "fit_image": ".fit",
            "prepare_image": ".prepare",
            "software_versions": ".prepare",
        },
    )

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
