"""One built-in image, prepared on every machine that writes shards: a machine with different results is refused.

Builds of the same library version can differ, and nobody would notice a set with mixed results.
"""

import base64
import functools
import hashlib

from ...errors import InputError
from ..format.pixel_options import PixelOptions

_IMAGE = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7gYKBTmCN"
    "l4x9lnN+gXz/2wBDARUXFx4aHjshITt8U0ZTfHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHx8fHz/wAAR"
    "CAAwAEADASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEG"
    "E1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWG"
    "h4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEB"
    "AQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAECAxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYk"
    "NOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0"
    "tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq8vP09fb3+Pn6/9oADAMBAAIRAxEAPwDkljqVYqmSOrCRVpShzkxqWKyw+1SrB7VZ"
    "2heMZNOVGb2+lbOFKL5d2dcKjIRAB14p4iQdxU4hVevFSKg7L+dQ1FacqX4/kdkKhAIk9CfwqRYl/un8qnCEdcLUip7sfpUPlT2X9fidkKhl"
    "Rx1Y27VGOpp8MdSiPc59uKKc3Gl7u7Pjoz1IY4alCknC8D1qXZk7R0HWpAmPlXr3NJyUVyx0S/HyR1wmQrGq8YyfSpQh6n5RUqx7eAMmpBHg"
    "88t6Vm5W02/r8fQ7ITIUjH8K/nUgT3z9KmCev5CnhMcdPYdazc7HbCZmwpgZ9Kkjj2rnFSxpiM1KI+FH40RnaMfJfnofHQmQrHtXjqelSLHt"
    "wAOTUwT5iT0WpFQgZ/iNS5W26f1+PQ64TIVjx8q9e5qRY8cLwPWpljxwOnc08J0JHHYVk5W/r+v+CdsJkSx4HHA9akWPA6YH61MIz+P8qeqd"
    "/wBe5qHO39f1/W7OyEz/2Q=="
)
"""A JPEG of 64 x 48 pixels with 4:2:0 chroma."""


@functools.lru_cache(maxsize=8)
def probe_digest(pixels: PixelOptions) -> str:
    """SHA-256 of the built-in image as these options and this machine's libraries store it, and of its pixels."""
    from ..images.prepare import prepare_image

    prepared = prepare_image(_IMAGE, pixels)
    return hashlib.sha256(prepared.image_HWC.tobytes() + prepared.encoded).hexdigest()


def refuse_other_probe(pixels: PixelOptions, expected: str) -> None:
    """InputError when the built-in image gives another digest here than `expected`, the plan's."""
    found = probe_digest(pixels)
    if found != expected:
        raise InputError(
            f"the built-in test image becomes different bytes on this machine ({found[:12]}…) than on the one that "
            f"began the run ({expected[:12]}…); install the same image libraries, from the same wheels, on all machines"
        )
