"""One page that shows what is in a shard set: everything inline, nothing to install, nothing to fetch.

It shows what a person checks before training on it: do labels and pictures agree, are classes even, are batches mixed,
what was left out and why.
"""

import base64
import html
import io
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...errors import InputError
from ..format.shard_set import ShardSet
from ..images.geometry import central_square
from ..images.stored import decode_stored
from .pca import sample_pixels
from .pca_plot import save_pca_plot

BATCH = 128
MAX_CLASSES_SHOWN = 100
MAX_QUARANTINE_SHOWN = 200
THUMBNAIL_PX = 96


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a look at every label and some images gives; arrays are over samples in stored order or over classes."""

    labels_N: NDArray[np.int64]
    image_bytes_N: NDArray[np.int64]
    counts_K: NDArray[np.int64]
    thumbnails: dict[int, list[Image.Image]]
    distinct_mean: float
    distinct_ideal: float


def survey_set(shard_set: ShardSet, *, images_per_class: int = 6) -> Survey:
    """Read all labels, and decode up to `images_per_class` images of up to 100 evenly chosen classes.

    Raises InputError naming the shard when an index, a label or an image is damaged.
    """
    manifest = shard_set.manifest
    num_classes = len(manifest.classes)
    step = -(-num_classes // MAX_CLASSES_SHOWN)
    thumbnails: dict[int, list[Image.Image]] = {label: [] for label in range(0, num_classes, step)}
    labels: list[int] = []
    sizes: list[NDArray[np.int64]] = []
    for number, shard in enumerate(manifest.shards):
        index = shard_set.index(number)
        content = np.memmap(shard_set.folder / shard.name, np.uint8, "r")
        for i, key in enumerate(index.keys):
            start, size = int(index.label_offsets[i]), int(index.label_sizes[i])
            text = content[start : start + size].tobytes()
            if not text.isdigit() or int(text) >= num_classes:
                raise InputError(f"{shard.name}: sample {key!r} has label {text[:20]!r}; run alexprep verify")
            labels.append(int(text))
            wanted = thumbnails.get(labels[-1])
            if wanted is not None and len(wanted) < images_per_class:
                start, size = int(index.image_offsets[i]), int(index.image_sizes[i])
                image_HWC = decode_stored(content[start : start + size].tobytes(), manifest.pixels)
                square = Image.fromarray(np.ascontiguousarray(central_square(image_HWC)))
                wanted.append(square.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS))
        sizes.append(index.image_sizes)
    labels_N = np.array(labels, np.int64)
    counts_K = np.bincount(labels_N, minlength=num_classes)
    mean, ideal = distinct_classes(labels_N, counts_K)
    return Survey(
        labels_N=labels_N,
        image_bytes_N=np.concatenate(sizes),
        counts_K=counts_K,
        thumbnails=thumbnails,
        distinct_mean=mean,
        distinct_ideal=ideal,
    )


def distinct_classes(labels_N: NDArray[np.int64], counts_K: NDArray[np.int64]) -> tuple[float, float]:
    """Distinct classes in a batch of consecutive samples, on average, and what a perfect shuffle is expected to give.

    The expectation for n of N without replacement: the sum over classes of 1 - C(N - c, n) / C(N, n).
    """
    total = len(labels_N)
    batch = min(BATCH, total)
    starts = range(0, total - batch + 1, batch)
    mean = float(np.mean([len(np.unique(labels_N[start : start + batch])) for start in starts]))
    missing_K = np.ones(len(counts_K))
    for drawn in range(batch):
        missing_K *= np.maximum(total - counts_K - drawn, 0) / (total - drawn)
    return mean, float((1 - missing_K).sum())


def contact_sheet(shard_set: ShardSet, survey: Survey) -> Image.Image:
    """One row of thumbnails per shown class, with its name."""
    columns = max(map(len, survey.thumbnails.values()))
    sheet = Image.new("RGB", (180 + columns * (THUMBNAIL_PX + 4), len(survey.thumbnails) * (THUMBNAIL_PX + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (label, images) in enumerate(survey.thumbnails.items()):
        top = row * (THUMBNAIL_PX + 4)
        draw.text((6, top + THUMBNAIL_PX // 2 - 6), f"{label} {shard_set.manifest.classes[label].name}"[:28], "black")
        for column, image in enumerate(images):
            sheet.paste(image, (180 + column * (THUMBNAIL_PX + 4), top))
    return sheet


def inspection_page(shard_set: ShardSet, survey: Survey) -> str:
    """The page, as HTML that needs no other file."""
    manifest = shard_set.manifest
    facts = {
        "images": f"{manifest.num_samples:,}",
        "classes": f"{len(manifest.classes):,}",
        "shards": f"{len(manifest.shards):,}",
        "size on disk": f"{sum(shard.num_bytes for shard in manifest.shards) / 1e6:,.1f} MB",
        "quarantined": f"{len(manifest.quarantined):,}",
        "pixels": ", ".join(f"{name} {value}" for name, value in asdict(manifest.pixels).items()),
        "shuffle": f"seed {manifest.seed}, {manifest.images_per_shard:,} images per shard",
        "made by": ", ".join(f"{name} {value}" for name, value in manifest.software.items()),
    }
    kilobytes = survey.image_bytes_N / 1e3
    histogram, edges = np.histogram(kilobytes, bins=40)
    shown = manifest.quarantined[:MAX_QUARANTINE_SHOWN]
    more = len(manifest.quarantined) - len(shown)
    parts = [
        f"<h1>{html.escape(manifest.split)} split</h1>",
        "<dl>" + "".join(f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items()) + "</dl>",
        "<h2>How well batches are mixed</h2>",
        f"<p>A batch of {min(BATCH, manifest.num_samples)} consecutive samples holds "
        f"<b>{survey.distinct_mean:.1f}</b> distinct classes on average; a perfect shuffle is expected to give "
        f"<b>{survey.distinct_ideal:.1f}</b>.</p>",
        "<h2>Images per class</h2>",
        _bars(survey.counts_K, [f"{entry.index} {entry.name}" for entry in manifest.classes]),
        f"<p>from {survey.counts_K.min():,} to {survey.counts_K.max():,}, mean {survey.counts_K.mean():,.1f}</p>",
        "<h2>Bytes per image</h2>",
        _bars(histogram, [f"{a:.1f} to {b:.1f} kB" for a, b in itertools.pairwise(edges)]),
        f"<p>from {kilobytes.min():.1f} to {kilobytes.max():.1f} kB, mean {kilobytes.mean():.1f} kB</p>",
        "<h2>Colors</h2>",
        _picture(_color_plot(shard_set), "mean image and principal colors", "wide"),
        "<h2>Samples</h2>",
        *(_class_row(shard_set, label, images, survey) for label, images in survey.thumbnails.items()),
        "<h2>Quarantine</h2>",
        "<table>",
        *(f"<tr><td>{_safe(bad.source)}</td><td>{_safe(bad.reason)}</td></tr>" for bad in shown),
        "</table>",
        f"<p>and {more:,} more in quarantine.jsonl</p>" if more else "" if shown else "<p>Nothing was left out.</p>",
    ]
    title = f"{html.escape(manifest.split)}: {manifest.num_samples:,} images"
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>{_STYLE}{''.join(parts)}</html>\n"
    )


_STYLE = """<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
h1{font-size:1.7em}h2{font-size:1.15em;margin:2em 0 .5em;border-bottom:1px solid #ddd}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15em 1.2em}dt{color:#777}dd{margin:0}
svg{width:100%;height:130px;background:#f7f7f7}rect{fill:#2a6f97}rect:hover{fill:#d1495b}
.wide{width:100%}.row{display:flex;gap:6px;align-items:center;margin:4px 0}.row span{width:15em;overflow-wrap:anywhere}
.row small{color:#777}table{border-collapse:collapse}td{padding:.15em 1em .15em 0;border-bottom:1px solid #eee}
</style>"""


def _safe(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())


def _bars(values: NDArray[np.int64], names: Sequence[str]) -> str:
    top, width = max(1, int(values.max())), 1000 / len(values)
    bars = "".join(
        f"<rect x='{i * width:.2f}' y='{100 - 100 * value / top:.2f}' width='{max(width * 0.9, 0.5):.2f}' "
        f"height='{100 * value / top:.2f}'><title>{_safe(name)}: {value:,}</title></rect>"
        for i, (value, name) in enumerate(zip(values.tolist(), names, strict=True))
    )
    return f"<svg viewBox='0 0 1000 100' preserveAspectRatio='none'>{bars}</svg>"


def _class_row(shard_set: ShardSet, label: int, images: Sequence[Image.Image], survey: Survey) -> str:
    entry = shard_set.manifest.classes[label]
    pictures = "".join(_picture(_png(image), entry.name, "") for image in images)
    name = _safe(entry.id if entry.id == entry.name else f"{entry.id} {entry.name}")
    return f"<div class='row'><span>{label} {name} <small>{survey.counts_K[label]:,}</small></span>{pictures}</div>"


def _picture(png: bytes, alt: str, class_: str) -> str:
    return f"<img class='{class_}' alt='{_safe(alt)}' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _color_plot(shard_set: ShardSet) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pca.png"
        save_pca_plot(
            path,
            title="before encoding",
            color=shard_set.manifest.color,
            mean_image_HWC=shard_set.sums().mean_image_HWC(),
            pixels_PC=sample_pixels(shard_set),
        )
        return path.read_bytes()
