"""A self-contained HTML page that shows the contents of one or more shard sets: everything is inline.

It shows what to check before training: whether labels match the images, classes are balanced, batches are mixed, images
appear twice or in two splits, and what was left out and why.
"""

import base64
import hashlib
import html
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..format.originals import ASPECTS, SHORTER_PX
from ..format.pixel_options import PixelOptions
from ..format.source_table import sources_at
from .charts import bar_chart
from .duplicates import Group
from .pca import sample_pixels
from .pca_plot import save_pca_plot
from .survey import BATCH, THUMBNAIL_PX, Survey, encoded

MAX_QUARANTINE_SHOWN = 200
MAX_GROUPS_SHOWN = 100
MAX_GROUP_IMAGES = 8


def inspection_page(
    surveys: Sequence[Survey], same_bytes: Sequence[Group], same_pictures: Sequence[Group] | None
) -> str:
    """The page, as HTML that needs no other file.

    `same_bytes` and `same_pictures` are the groups that `duplicates` found among the sets; `same_pictures` is None if
    pictures were not compared.
    """
    title = ", ".join(f"{one.split}: {len(one.index):,} images" for one in surveys)
    parts = [f"<header><h1>Shard {'sets' if len(surveys) > 1 else 'set'}</h1><nav aria-label='Sections'>"]
    parts += [f"<a href='#{one.split}'>{_safe(one.split)}</a>" for one in surveys]
    parts += ["<a href='#duplicates'>duplicates</a></nav></header><main>"]
    for survey in surveys:
        parts += _set_section(survey)
    parts += _duplicates_section(surveys, same_bytes, same_pictures)
    script_hash = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    # No name in a shard set can make the page run or load anything.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{script_hash}'"
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{_safe(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</main><script>{_SCRIPT}</script></body></html>\n"
    )


def _set_section(survey: Survey) -> list[str]:
    manifest, split = survey.shard_set.manifest, _safe(survey.split)
    kilobytes = survey.index.sizes_N / 1e3
    histogram, edges = np.histogram(kilobytes, bins=40)
    facts = {
        "images": f"{manifest.num_samples:,}",
        "classes": f"{len(manifest.classes):,}",
        "shards": f"{len(manifest.shards):,}, of up to {manifest.images_per_shard:,} images",
        "size on disk": f"{sum(shard.num_bytes for shard in manifest.shards) / 1e6:,.1f} MB",
        "left out": f"{len(manifest.quarantined):,}, listed below" if manifest.quarantined else "nothing",
        "stored as": _in_words(manifest.pixels, is_known=not manifest.unknown),
        "shuffled with seed": "unknown" if "seed" in manifest.unknown else str(manifest.seed),
        "made with": ", ".join(f"{name} {value}" for name, value in manifest.software.items()) or "unknown",
    }
    counts, classes = survey.counts_K, manifest.classes
    return [
        f"<section id='{split}'><h2>{split}</h2>",
        "<dl>" + "".join(f"<dt>{k}</dt><dd>{_safe(v)}</dd>" for k, v in facts.items()) + "</dl>",
        "<h3>Images per class</h3>",
        bar_chart(
            counts.tolist(),
            [f"{entry.index} {entry.name}" for entry in classes],
            label=f"images per class, {counts.min():,} to {counts.max():,}",
            x_label="class",
            ends=("0", str(len(classes) - 1)),
        ),
        f"<p>From {counts.min():,} to {counts.max():,}, mean {counts.mean():,.1f}.</p>",
        "<h3>Size of stored images</h3>",
        bar_chart(
            histogram.tolist(),
            [f"{a:.1f} to {b:.1f} kB" for a, b in itertools.pairwise(edges)],
            label=f"images by size, {kilobytes.min():.1f} to {kilobytes.max():.1f} kB",
            x_label="kB",
            ends=(f"{edges[0]:.1f}", f"{edges[-1]:.1f}"),
        ),
        f"<p>From {kilobytes.min():.1f} to {kilobytes.max():.1f} kB, mean {kilobytes.mean():.1f} kB.</p>",
        *_originals(survey),
        "<h3>How well batches are mixed</h3>",
        f"<p>A batch of {min(BATCH, manifest.num_samples)} consecutive samples contains "
        f"<b>{survey.distinct_mean:.1f}</b> distinct classes on average; the expected number for a perfect shuffle is "
        f"<b>{survey.distinct_ideal:.1f}</b>.</p>",
        "<h3>Colors</h3>",
        "<div class='scroll'>",
        _picture(_color_plot(survey), f"mean image and principal colors of {survey.split}", "image/png", "wide"),
        "</div>",
        *_samples(survey),
        *_shard_table(survey),
        *_quarantine(survey),
        "</section>",
    ]


def _originals(survey: Survey) -> list[str]:
    """The source images' sizes and aspect ratios, and how many were enlarged."""
    manifest = survey.shard_set.manifest
    originals, size_px = manifest.originals, manifest.pixels.size_px
    if not originals.shorter_px:
        return ["<h3>Original images</h3><p>Their sizes were not recorded when this set was built.</p>"]
    parts = ["<h3>Original images</h3>"]
    for counts, edges, title, unit in (
        (originals.shorter_px, SHORTER_PX, "shorter side, px", " px"),
        (originals.aspect, ASPECTS, "width / height", ""),
    ):
        used = [i for i, edge in enumerate(edges) if str(edge) in counts]
        bins = range(used[0], used[-1] + 1)
        values = [counts.get(str(edges[i]), 0) for i in bins]
        names = [f"{edges[i]} to {edges[i + 1]}" if i + 1 < len(edges) else f"{edges[i]} and more" for i in bins]
        most = names[values.index(max(values))]
        label = f"original images by {title}: most common {most}{unit}"
        parts.append(bar_chart(values, names, label=label, x_label=f"{title} (lower edge of each bin)"))
    enlarged = manifest.num_enlarged
    words = (
        f"<b>{enlarged:,}</b> of {manifest.num_samples:,} had a shorter side below {size_px} px and were enlarged."
        if enlarged
        else f"None were enlarged: every shorter side had at least {size_px} px."
    )
    return [*parts, f"<p>{words}</p>"]


def _in_words(pixels: PixelOptions, *, is_known: bool) -> str:
    if not is_known:  # of adopted images, only what they themselves say
        return f"{pixels.format.upper()}, {pixels.size_px} px; how they were made is unknown"
    size = (
        f"{pixels.size_px} × {pixels.size_px} px center crops"
        if pixels.fit == "crop"
        else (f"whole images, shorter side {pixels.size_px} px")
    )
    kind = {"jpeg": f"JPEG of quality {pixels.quality}, chroma 4:{pixels.chroma[1]}:{pixels.chroma[2]}"}
    damaged = "damaged JPEGs kept, patched by the decoder" if pixels.lenient else "damaged JPEGs left out"
    return f"{size}, {pixels.filter} filter, {kind.get(pixels.format, pixels.format.upper())}; {damaged}"


def _samples(survey: Survey) -> list[str]:
    """Every class with its samples, and a search box to filter classes."""
    split, rows = _safe(survey.split), []
    for label, indices in enumerate(survey.shown):
        entry = survey.shard_set.manifest.classes[label]
        name = entry.id if entry.id == entry.name else f"{entry.id} {entry.name}"
        pictures = "".join(_figure(survey, index) for index in indices)
        rows.append(
            f"<div class='class' data-name='{_safe(f'{label} {name}'.lower())}'><h4>{label} {_safe(name)} "
            f"<small>{_count(int(survey.counts_K[label]), 'image')}</small></h4><div class='row'>{pictures}</div></div>"
        )
    return [
        f"<h3>Samples of every class</h3><p><label>Filter classes <input type='search' data-filter='{split}-samples' "
        f"autocomplete='off'></label> <output>{len(rows):,} of {len(rows):,}</output></p>",
        f"<div id='{split}-samples'>{''.join(rows)}</div>",
    ]


def _figure(survey: Survey, index: int, caption: str = "") -> str:
    key = survey.index.key(index)
    alt = f"{survey.class_of(index)}, sample {key}"
    picture = _picture(encoded(survey.thumbnail(index)), alt, "image/webp", "")
    source = f"<br>{_safe(survey.sources[index])}" if index in survey.sources else ""
    return f"<figure>{picture}<figcaption>{_safe(caption or key)}{source}</figcaption></figure>"


def _shard_table(survey: Survey) -> list[str]:
    rows = []
    for number, shard in enumerate(survey.shard_set.manifest.shards):
        labels = survey.index.labels_N[survey.index.first_S[number] : survey.index.first_S[number + 1]]
        rows.append(
            f"<tr><td>{_safe(shard.name)}<td>{shard.num_samples:,}<td>{shard.num_bytes / 1e6:,.1f}"
            f"<td>{len(np.unique(labels)):,}<td><code>{shard.sha256[:12]}</code>"
        )
    return [
        f"<h3>Shards</h3><details><summary>{_count(len(rows), 'shard')}</summary><div class='scroll'><table>"
        "<thead><tr><th>file<th>images<th>MB<th>distinct classes<th>SHA-256</thead><tbody>",
        *rows,
        "</tbody></table></div></details>",
    ]


def _quarantine(survey: Survey) -> list[str]:
    bad = survey.shard_set.manifest.quarantined
    if not bad:
        return ["<h3>Left out</h3><p>Nothing was left out.</p>"]
    rows = [f"<tr><td>{_safe(one.source)}<td>{_safe(one.reason)}" for one in bad[:MAX_QUARANTINE_SHOWN]]
    more = len(bad) - len(rows)
    return [
        "<h3>Left out</h3><div class='scroll'><table><thead><tr><th>input<th>reason</thead><tbody>",
        *rows,
        "</tbody></table></div>",
        f"<p>And {more:,} more in quarantine.jsonl.</p>" if more else "",
    ]


def _duplicates_section(
    surveys: Sequence[Survey], same_bytes: Sequence[Group], same_pictures: Sequence[Group] | None
) -> list[str]:
    parts = ["<section id='duplicates'><h2>Duplicates</h2><h3>Identical bytes</h3>", *_groups(surveys, same_bytes)]
    parts.append("<h3>Same picture, different bytes</h3>")
    if same_pictures is None:
        return [*parts, "<p>Not compared (--quick).</p></section>"]
    exact = set(same_bytes)
    return [*parts, *_groups(surveys, [group for group in same_pictures if group not in exact]), "</section>"]


def _groups(surveys: Sequence[Survey], groups: Sequence[Group]) -> list[str]:
    if not groups:
        return ["<p>None found.</p>"]

    def across(group: Group) -> bool:
        return len({where.set_number for where in group}) > 1

    def labels(group: Group) -> set[int]:
        return {int(surveys[where.set_number].index.labels_N[where.index]) for where in group}

    num_across, num_labels = sum(map(across, groups)), sum(len(labels(group)) > 1 for group in groups)
    parts = [
        f"<p>{_count(len(groups), 'group')}; <b>{num_across:,}</b> of them in more than one split, "
        f"<b>{num_labels:,}</b> with more than one label.</p>"
    ]
    shown = sorted(groups, key=lambda group: (not across(group), len(labels(group)) < 2))[:MAX_GROUPS_SHOWN]
    for number, survey in enumerate(surveys):
        places = [where.index for group in shown for where in group[:MAX_GROUP_IMAGES] if where.set_number == number]
        survey.sources.update(sources_at(survey.shard_set.folder, places))
    for group in shown:
        figures = [
            _figure(surveys[where.set_number], where.index, _caption(surveys[where.set_number], where.index))
            for where in group[:MAX_GROUP_IMAGES]
        ]
        more = f"<p>and {len(group) - MAX_GROUP_IMAGES:,} more</p>" if len(group) > MAX_GROUP_IMAGES else ""
        parts.append(f"<div class='row group'>{''.join(figures)}{more}</div>")
    if len(groups) > MAX_GROUPS_SHOWN:
        parts.append(f"<p>{MAX_GROUPS_SHOWN} of {len(groups):,} groups are shown, those across splits first.</p>")
    return parts


def _caption(survey: Survey, index: int) -> str:
    return f"{survey.split}: {survey.class_of(index)}, {survey.index.key(index)}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _safe(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())


def _picture(content: bytes, alt: str, kind: str, class_: str) -> str:
    size = "" if class_ else f" width='{THUMBNAIL_PX}' height='{THUMBNAIL_PX}'"
    data = base64.b64encode(content).decode()
    return f"<img class='{class_}' alt='{_safe(alt)}' loading='lazy'{size} src='data:{kind};base64,{data}'>"


def _color_plot(survey: Survey) -> bytes:
    shard_set = survey.shard_set
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


_STYLE = """
:root{color-scheme:light dark;--ink:#1d2733;--soft:#4b5868;--line:#d5dbe3;--paper:#fff;--field:#f3f5f8;--bar:#2a6f97;
--link:#1f5f86}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#a9b4c2;--line:#363d48;--paper:#131416;--field:#1d2025;
--bar:#6fb1d8;--link:#8fc4e6}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;max-width:1120px;margin:0 auto;padding:0 16px 48px;color:var(--ink);
background:var(--paper)}
header{display:flex;flex-wrap:wrap;gap:0 24px;align-items:baseline}nav{display:flex;flex-wrap:wrap;gap:16px}
a{color:var(--link)}
h1{font-size:1.6em;margin:.8em 0 .3em}h2{font-size:1.35em;margin:1.6em 0 .4em;border-bottom:1px solid var(--line)}
h3{font-size:1.05em;margin:1.8em 0 .4em}h4{font-size:1em;margin:.9em 0 .3em}small,figcaption,dt{color:var(--soft)}
h4 small{font-weight:400}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2em 1.2em}dd{margin:0;overflow-wrap:anywhere}
svg{width:100%;height:auto;background:var(--field);font-size:13px}svg text{fill:var(--soft)}svg line{stroke:var(--line)}
rect{fill:var(--bar)}rect:hover{fill:var(--ink)}
.wide{width:100%;height:auto;background:#fff}
.class{content-visibility:auto;contain-intrinsic-size:auto 170px}
.row{display:flex;flex-wrap:wrap;gap:8px}figure{margin:0;width:96px}
figcaption{font-size:11px;line-height:1.3;overflow-wrap:anywhere}
.group{padding:10px 0;border-bottom:1px solid var(--line)}.group figure{width:150px}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:14px}
th,td{padding:.2em 1.2em .2em 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
input{font:inherit;color:inherit;background:var(--field);border:1px solid var(--soft);border-radius:6px;
padding:.25em .6em}
@media(max-width:520px){dl{grid-template-columns:1fr;gap:0}dd{margin:0 0 .5em}svg{font-size:26px}.wide{min-width:720px}}
"""

_SCRIPT = """
for (const box of document.querySelectorAll('input[data-filter]')) {
  const rows = [...document.getElementById(box.dataset.filter).children]
  box.addEventListener('input', () => {
    const words = box.value.toLowerCase().split(/\\s+/)
    for (const row of rows) row.hidden = !words.every(word => row.dataset.name.includes(word))
    box.closest('p').querySelector('output').value = `${rows.filter(row => !row.hidden).length} of ${rows.length}`
  })
}
"""
