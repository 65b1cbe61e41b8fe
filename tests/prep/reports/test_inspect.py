"""Laws of the page: it stands alone, shows every class and every duplicate, and runs nothing that a name holds."""

import html.parser
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.prep import adopt_webdataset
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.reports.contact_sheet import contact_sheet
from alexkit.prep.reports.duplicates import Where, same_bytes
from alexkit.prep.reports.inspect import inspection_page
from alexkit.prep.reports.survey import Survey, survey_set
from alexkit.prep.sources.recognize import open_source

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(html.parser.HTMLParser):
    """Counts tags, and collects what a page would fetch and what it says to those who cannot see it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        self.texts += [value or "" for name, value in attrs if name in ("alt", "aria-label")]


@pytest.fixture
def surveys(tmp_path: Path, draw_source: Callable[..., Path]) -> list[Survey]:
    """Two splits of three classes, one of them smaller, a name that tries to be HTML, a training image in val."""
    source = draw_source(num_classes=3, images_per_class=6)
    (source / "train/n00000002/n00000002_0.JPEG").unlink()
    (source / "train/n00000001/<script>alert(1)<&script>.JPEG").write_bytes(b"no image")
    shutil.copy(source / "train/n00000000/n00000000_0.JPEG", source / "val/n00000001/leak.JPEG")
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=10, num_workers=1)
    build_shards(open_source(source), tmp_path / "out", options, on_split=lambda split: lambda done, num_bad: None)
    return [survey_set(tmp_path / "out" / split) for split in ("train", "val")]


def page_of(surveys: list[Survey]) -> str:
    return inspection_page(surveys, same_bytes([survey.shard_set for survey in surveys]), [])


def test_the_page_stands_alone_and_escapes_names(surveys: list[Survey]) -> None:
    text = page_of(surveys)
    page = Page(text)
    assert page.tags.count("script") == 1 and "&lt;script&gt;" in text
    assert all(link.startswith(("data:image/", "#")) for link in page.links)
    assert "default-src 'none'" in text
    for words in ("train", "perfect shuffle", "not an image of a known format", "32 × 32 px center crops"):
        assert words in text


def test_what_adopted_tars_do_not_say_is_not_made_up(surveys: list[Survey], tmp_path: Path) -> None:
    tars = tmp_path / "tars"
    tars.mkdir()
    for path in surveys[0].shard_set.folder.glob("*.tar"):
        shutil.copy(path, tars)
    text = page_of([survey_set(adopt_webdataset(tars, tmp_path / "adopted"))])
    assert "JPEG, 32 px; how they were made is unknown" in text and "quality" not in text


def test_every_class_every_shard_and_every_duplicate_is_shown(surveys: list[Survey]) -> None:
    text = page_of(surveys)
    page = Page(text)
    # Every image is among the first six of its class; a color plot for each set; the leak once more in both splits.
    num_images = sum(min(6, int(count)) for survey in surveys for count in survey.counts_K)
    assert page.tags.count("img") == num_images + 2 + 2
    originals = [survey.shard_set.manifest.originals for survey in surveys]
    bins = sum(len(one.shorter_px) + len(one.aspect) for one in originals)
    assert page.tags.count("rect") >= 2 * (3 + 40) + bins
    assert all(sum(one.aspect.values()) == len(survey.index) for one, survey in zip(originals, surveys, strict=True))
    assert all(survey.index.key(0) in text for survey in surveys)
    assert all(shard.sha256[:12] in text for survey in surveys for shard in survey.shard_set.manifest.shards)
    assert "<br>train/n00000000/n00000000_0.JPEG<" in text and "<br>val/n00000001/leak.JPEG<" in text
    assert "1 group; <b>1</b> of them in more than one split, <b>1</b> with more than one label" in text


def test_those_who_cannot_see_are_told_what_a_picture_shows(surveys: list[Survey]) -> None:
    page = Page(page_of(surveys))
    assert len(page.texts) == page.tags.count("img") + page.tags.count("svg") + page.tags.count("nav")
    assert all(page.texts)


def test_pictures_that_were_not_compared_are_said_to_be(surveys: list[Survey]) -> None:
    assert "Not compared (--quick)" in inspection_page(surveys, [], None)


def test_a_large_group_of_duplicates_is_shown_in_part(surveys: list[Survey]) -> None:
    group = tuple(Where(set_number=0, index=index) for index in range(12))
    assert "and 4 more" in inspection_page(surveys, [group], None)


def test_the_contact_sheet_has_a_row_per_class(surveys: list[Survey]) -> None:
    sheet = contact_sheet(surveys[0])
    assert sheet.size == (260 + 6 * 100, 40 + 3 * 100) and np.asarray(sheet).std() > 20


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [390, 1200])
def test_chromium_shows_the_page_without_an_error(surveys: list[Survey], tmp_path: Path, width: int) -> None:
    assert CHROMIUM is not None
    page, picture = tmp_path / "inspect.html", tmp_path / "page.png"
    page.write_text(page_of(surveys))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    # Time goes on until the page is done, however busy the machine is; a picture of a half-drawn page proves nothing.
    command += [
        "--virtual-time-budget=10000",
        "--enable-logging=stderr",
        f"--window-size={width},2400",
        f"--screenshot={picture}",
        page.as_uri(),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert "CONSOLE" not in done.stderr, done.stderr
    shown = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    bars = (np.abs(shown - [0x2A, 0x6F, 0x97]).max(axis=2) < 12).sum()
    assert bars > 5000, "the histograms are not to be seen"
    colorful = (shown.max(axis=2) - shown.min(axis=2) > 60).sum()
    assert colorful > 20_000, "the pictures are not to be seen"
