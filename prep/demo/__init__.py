"""The demo set: photograph-like pictures of ten classes, drawn from a seed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .draw import DEMO_CLASSES, DemoImage, draw_demo_images, draw_scene

__all__ = ["DEMO_CLASSES", "DemoImage", "draw_demo_images", "draw_scene"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import draw

        return getattr(draw, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
