"""Laws of the page: it stands alone, shows what is stored, and measures mixing truly."""

import html.parser
import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexkit.prep import ShardSet
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.reports.inspect import contact_sheet, distinct_classes, inspection_page, survey_set
from alexkit.prep.sources.recognize import open_source

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(html.parser.HTMLParser):
    """Counts tags and collects everything a page would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


@pytest.fixture
def shard_set(tmp_path: Path, draw_source) -> ShardSet:  # type: ignore[no-untyped-def]
    """Three classes, one of them smaller, one input whose name tries to be HTML."""
    source = draw_source(splits=("train",), num_classes=3, images_per_class=6)
    (source / "train/n00000002/n00000002_0.JPEG").unlink()
    (source / "train/n00000001/<script>alert(1)<&script>.JPEG").write_bytes(b"no image")
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=10, num_workers=1)
    build_shards(open_source(source), tmp_path / "out", options, on_split=lambda split: lambda done, num_bad: None)
    return ShardSet.open(tmp_path / "out/train")


def test_the_survey_counts_what_is_stored(shard_set: ShardSet) -> None:
    survey = survey_set(shard_set, images_per_class=4)
    assert survey.counts_K.tolist() == [6, 6, 5] and len(survey.labels_N) == len(survey.image_bytes_N) == 17
    assert {label: len(images) for label, images in survey.thumbnails.items()} == {0: 4, 1: 4, 2: 4}


def test_the_page_stands_alone_and_escapes_names(shard_set: ShardSet) -> None:
    text = inspection_page(shard_set, survey_set(shard_set))
    page = Page(text)
    assert "script" not in page.tags and "&lt;script&gt;" in text
    assert page.links and all(link.startswith("data:image/png;base64,") for link in page.links)
    assert page.tags.count("img") == 17 + 1  # every image is among the first six of its class, and the color plot
    assert page.tags.count("rect") == 3 + 40
    for words in ("train split", "perfect shuffle", "not an image of a known format", "seed 0"):
        assert words in text


def test_the_contact_sheet_has_a_row_per_class(shard_set: ShardSet) -> None:
    sheet = contact_sheet(shard_set, survey_set(shard_set))
    assert sheet.size == (180 + 6 * 100, 3 * 100) and np.asarray(sheet).std() > 20


def test_the_expected_mixing_is_that_of_all_shuffles() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    orders = np.array(list(itertools.permutations(labels.tolist())))
    for length in (1, 2, 4):
        truth = np.mean([len(set(order[:length])) for order in orders.tolist()])
        counts = np.bincount(labels)
        missing = np.ones(3)
        for drawn in range(length):
            missing *= np.maximum(6 - counts - drawn, 0) / (6 - drawn)
        assert (1 - missing).sum() == pytest.approx(truth)


def test_unshuffled_samples_show_as_badly_mixed() -> None:
    labels = np.repeat(np.arange(100), 100)
    mean, ideal = distinct_classes(labels, np.bincount(labels))
    shuffled_mean, _ = distinct_classes(np.random.default_rng(0).permutation(labels), np.bincount(labels))
    assert mean < 3 and ideal == pytest.approx(shuffled_mean, abs=1.5) and ideal > 70


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    assert distinct_classes(np.array([0, 1, 1]), np.array([1, 2])) == (2.0, pytest.approx(2.0))


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_chromium_shows_the_page(shard_set: ShardSet, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    page, picture = tmp_path / "inspect.html", tmp_path / "page.png"
    page.write_text(inspection_page(shard_set, survey_set(shard_set)))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--window-size=1200,2400", f"--screenshot={picture}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    shown = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    bars = (np.abs(shown - [0x2A, 0x6F, 0x97]).max(axis=2) < 12).sum()
    assert shown.shape == (2400, 1200, 3) and bars > 5000, "the histograms are not to be seen"
    colorful = (shown.max(axis=2) - shown.min(axis=2) > 60).sum()
    assert colorful > 50_000, "the pictures are not to be seen"
