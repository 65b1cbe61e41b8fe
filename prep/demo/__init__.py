"""The demo set: photograph-like images of ten classes, drawn from a seed."""

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .draw import DEMO_CLASSES, DemoImage, draw_demo_images, draw_scene
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "DEMO_CLASSES": ".draw",
            "DemoImage": ".draw",
            "draw_demo_images": ".draw",
            "draw_scene": ".draw",
        },
    )

__all__ = ["DEMO_CLASSES", "DemoImage", "draw_demo_images", "draw_scene"]
