"""The demo set: photograph-like images of ten classes, drawn from a seed, so that everything can be tried anywhere.

Sizes, backgrounds, light, clutter, scale, position and rotation vary and are independent of the class. As in any
collection, most files are RGB JPEGs; some are PNG, grayscale or CMYK, or stored sideways with an EXIF orientation.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ...errors import InputError
from ..format.files import remove_abandoned, whole_file
from ..sources.litter import is_hidden, is_image_name
from ..workers import Heartbeat, run_jobs
from .objects import DRAWERS, color, draw_object

DEMO_CLASSES = tuple(sorted(DRAWERS))
EXIF_ORIENTATION = 0x0112
PICTURES_PER_JOB = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoImage:
    """Everything that determines one image."""

    seed: int
    """The seed of the whole set."""
    split: Literal["train", "val"]
    """The split; the two splits have different images."""
    class_name: str
    """One of `DEMO_CLASSES`."""
    number: int
    """Counts from 0 within the class and split."""

    @property
    def oddity(self) -> int:
        """0 to 39, spread over the classes; for four of these values the file is not a plain, upright RGB JPEG."""
        return (self.number + 4 * DEMO_CLASSES.index(self.class_name)) % 40

    def rng(self) -> np.random.Generator:
        """A generator for this image alone, so that any worker can draw it."""
        words = [self.seed, int(self.split == "val"), DEMO_CLASSES.index(self.class_name), self.number]
        return np.random.default_rng(words)


def draw_demo_images(
    folder: Path,
    *,
    seed: int,
    num_train: int,
    num_val: int,
    workers: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write `folder/train/CLASS/` and `folder/val/CLASS/`; existing files are kept.

    Args:
        folder: where the two splits go; created if it does not exist.
        seed: 0 to 2**63 - 1; another seed draws different images.
        num_train: number of training images over all classes, the same in each class.
        num_val: number of validation images over all classes, the same in each class.
        workers: number of processes; the images do not depend on it.
        on_progress: called with (images drawn, images in total).

    Raises InputError if the seed is out of range, if a count is not a positive multiple of the number of classes, or if
    the folder contains an image that this call would not draw.
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"--seed {seed}: expected 0 to 2**63 - 1")
    jobs: list[tuple[DemoImage, Path]] = []
    counts: tuple[tuple[Literal["train", "val"], int], ...] = (("train", num_train), ("val", num_val))
    for split, count in counts:
        if count < len(DEMO_CLASSES) or count % len(DEMO_CLASSES):
            raise InputError(
                f"--{split} {count}: expected a multiple of {len(DEMO_CLASSES)}, so that all {len(DEMO_CLASSES)} "
                "classes get the same number of images"
            )
        for class_name in DEMO_CLASSES:
            for number in range(count // len(DEMO_CLASSES)):
                image = DemoImage(seed=seed, split=split, class_name=class_name, number=number)
                jobs.append((image, folder / split / class_name / f"{seed}_{number:05d}.{_extension(image)}"))
    expected = {path for _, path in jobs}
    images = (path for path in folder.rglob("*") if is_image_name(path.name))
    stray = next((x for x in images if x not in expected and not is_hidden(str(x.relative_to(folder)))), None)
    if stray is not None:
        raise InputError(
            f"{stray}: not an image of this demo set; choose an empty folder, or pass the --seed, --train and --val "
            "that it was drawn with"
        )
    for path in {path.parent for path in expected}:
        path.mkdir(parents=True, exist_ok=True)
    todo = [job for job in jobs if not job[1].exists()]
    on_progress(len(jobs) - len(todo), len(jobs))
    if not todo:
        return
    before = len(jobs) - len(todo)
    chunks = [todo[start : start + PICTURES_PER_JOB] for start in range(0, len(todo), PICTURES_PER_JOB)]
    drawn = run_jobs(
        _write_some,
        [(chunk, len(chunk)) for chunk in chunks],
        num_workers=workers,
        on_progress=lambda done: on_progress(before + done, len(jobs)),
    )
    try:
        with closing(drawn):  # stops the workers even if we raise
            for _ in drawn:
                pass
    finally:  # a worker stopped while it writes leaves a partial file
        for folder in {path.parent for _, path in todo}:
            remove_abandoned(folder)


def draw_scene(class_name: str, rng: np.random.Generator) -> Image.Image:
    """One RGB image of the class, 320 to 640 px on each side."""
    width, height = (int(rng.integers(320, 641)) for _ in range(2))
    scene = _background(rng, width, height)
    for _ in range(int(rng.integers(2, 6))):
        _clutter(rng, scene)
    side = min(width, height)
    size = round(side * rng.uniform(0.65, 0.95))
    thing = draw_object(class_name, rng)
    if rng.random() < 0.5:
        thing = thing.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # Resize first: rotating the whole canvas would take most of an image's time.
    thing = thing.resize((size, size), Image.Resampling.LANCZOS)
    thing = _lit(rng, thing.rotate(rng.uniform(-18, 18), Image.Resampling.BILINEAR, expand=True))
    size = thing.width
    # Near the middle, as in photographs, so that the center crop keeps most of it.
    x = round((width - size) / 2 + rng.uniform(-0.1, 0.1) * side)
    y = round((height - size) / 2 + rng.uniform(-0.1, 0.1) * side)
    shadow = thing.getchannel("A").point(lambda a: a * 0.45).filter(ImageFilter.GaussianBlur(size / 40))
    scene.paste((12, 12, 18), (x + size // 25, y + size // 18), shadow)
    scene.paste(thing, (x, y), thing)
    if rng.random() < 0.3:
        _clutter(rng, scene)
    return _camera(rng, scene)


def _background(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Two tones that meet at a horizon or blend into each other, with texture at several scales."""
    one, two = (np.array(color(rng, saturation=(0.0, 0.5), value=(0.25, 0.9))[:3], np.float32) for _ in range(2))
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    if rng.random() < 0.5:
        rows = np.clip((rows - rng.uniform(0.35, 0.75)) * 60 + 0.5, 0, 1)
    texture = np.zeros((height, width), np.float32)
    for cells, strength in ((4, 30.0), (16, 18.0), (70, 14.0)):
        texture += _noise(rng, width, height, cells) * strength * rng.uniform(0.2, 1.0)
    image_HWC = (one * (1 - rows)[..., None] + two * rows[..., None]) + texture[..., None]
    return Image.fromarray(np.clip(image_HWC, 0, 255).astype(np.uint8))


def _noise(rng: np.random.Generator, width: int, height: int, cells: int) -> NDArray[np.float32]:
    """Smooth noise of unit scale with about `cells` bumps across."""
    grid = rng.standard_normal((max(2, cells * height // width), cells)).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def _clutter(rng: np.random.Generator, scene: Image.Image) -> None:
    """Draw one distracting object: a stone, a blade or a box."""
    draw = ImageDraw.Draw(scene)
    x, y = rng.uniform(0, scene.width), rng.uniform(0, scene.height)
    size = rng.uniform(0.03, 0.12) * min(scene.size)
    fill = color(rng, saturation=(0.0, 0.9), value=(0.1, 0.95))[:3]
    kind = rng.integers(0, 3)
    if kind == 0:
        draw.ellipse((x - size, y - size * 0.6, x + size, y + size * 0.6), fill=fill)
    elif kind == 1:
        lean = rng.uniform(-2, 2) * size
        draw.polygon([(x - size * 0.15, y), (x + size * 0.15, y), (x + lean, y - 3 * size)], fill=fill)
    else:
        corners = [(x - size, y), (x, y - size * 0.8), (x + size, y), (x, y + size * 0.8)]
        draw.polygon([(cx + rng.uniform(-0.3, 0.3) * size, cy) for cx, cy in corners], fill=fill)


def _lit(rng: np.random.Generator, thing: Image.Image) -> Image.Image:
    """The object lit from one side, with slightly uneven brightness."""
    rgba_HWC = np.asarray(thing).astype(np.float32)
    height, width = rgba_HWC.shape[:2]
    angle = rng.uniform(0, 2 * np.pi)
    along_HW = np.linspace(-1, 1, width)[None, :] * np.cos(angle) + np.linspace(-1, 1, height)[:, None] * np.sin(angle)
    light_HW = 1 + rng.uniform(0.1, 0.35) * along_HW + 0.06 * _noise(rng, width, height, 24)
    rgba_HWC[..., :3] = np.clip(rgba_HWC[..., :3] * light_HW[..., None], 0, 255)
    return Image.fromarray(rgba_HWC.astype(np.uint8))


def _camera(rng: np.random.Generator, scene: Image.Image) -> Image.Image:
    """Focus, exposure, white balance, vignette and sensor noise."""
    scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3)))
    image_HWC = np.asarray(scene).astype(np.float32)
    balance_C = rng.uniform(0.88, 1.12, 3).astype(np.float32) * rng.uniform(0.7, 1.15)
    across = np.linspace(-1, 1, scene.width, dtype=np.float32)[None, :]
    down = np.linspace(-1, 1, scene.height, dtype=np.float32)[:, None]
    vignette_HW = 1 - rng.uniform(0.0, 0.2) * (across**2 + down**2)
    image_HWC *= balance_C * vignette_HW[..., None]
    image_HWC += rng.standard_normal(image_HWC.shape, np.float32) * rng.uniform(1.0, 7.0)
    return Image.fromarray(np.clip(image_HWC, 0, 255).astype(np.uint8))


def _extension(image: DemoImage) -> str:
    return "png" if image.oddity == 7 else "JPEG"


def _write_some(pictures: Sequence[tuple[DemoImage, Path]], heartbeat: Heartbeat, poisoned: dict[int, str]) -> None:
    """A worker's task."""
    for i, (image, path) in enumerate(pictures):
        heartbeat(i)
        heartbeat.writing()  # nothing is read
        _write(image, path)


def _write(image: DemoImage, path: Path) -> None:
    rng = image.rng()
    scene = draw_scene(image.class_name, rng)
    quality = int(rng.integers(75, 96))
    with whole_file(path) as file:
        if _extension(image) == "png":
            scene.save(file, "PNG")
        elif image.oddity == 17:
            scene.convert("L").save(file, "JPEG", quality=quality)
        elif image.oddity == 27:
            scene.convert("CMYK").save(file, "JPEG", quality=quality)
        elif image.oddity == 37:
            # Stored rotated 90 degrees counterclockwise, with the EXIF tag "rotate 90 degrees clockwise to display".
            exif = Image.Exif()
            exif[EXIF_ORIENTATION] = 6
            scene.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=quality, exif=exif)
        else:
            scene.save(file, "JPEG", quality=quality)
