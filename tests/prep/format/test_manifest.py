"""Laws of the manifest: it is read back as written, and no change of it goes unseen or ends in a traceback."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexkit import __version__
from alexkit.prep import Manifest
from alexkit.prep.format.manifest import manifest_digest

DrawShards = Callable[..., Path]
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def content(draw_shards: DrawShards) -> bytes:
    """A manifest as it is written."""
    return (draw_shards() / "manifest.json").read_bytes()


def written(folder: Path, data: dict[str, Any]) -> Path:
    """A manifest with this content and its right hash, as a hostile author would write it."""
    data.pop("manifest_sha256", None)
    text = json.dumps(data, sort_keys=True)
    data["manifest_sha256"] = manifest_digest(data) if "Infinity" not in text and "NaN" not in text else "0" * 64
    (folder / "manifest.json").write_text(json.dumps(data))
    return folder


def test_it_is_read_back_as_written(draw_shards: DrawShards, tmp_path: Path) -> None:
    manifest = Manifest.read(draw_shards())
    assert manifest.alexkit_version == __version__ and manifest.format_version == 3
    manifest.write(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == (draw_shards() / "manifest.json").read_bytes()
    assert Manifest.read(tmp_path) == manifest


def test_every_changed_character_is_refused(content: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    before = json.loads(content)
    for position in rng.integers(0, len(content), 400).tolist():
        changed = bytearray(content)
        changed[position] ^= 1 << int(rng.integers(8))
        (tmp_path / "manifest.json").write_bytes(changed)
        try:
            same = json.loads(changed) == before  # one kind of white space for another
        except ValueError:
            same = False
        if not same:
            with pytest.raises(ValueError, match=r"manifest\.json: "):
                Manifest.read(tmp_path)


def test_one_digit_of_an_eigenvalue_is_refused(content: bytes, tmp_path: Path) -> None:
    data = json.loads(content)
    data["color"]["eigenvalues_0_255"][0] += 1000
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"changed since it was written .*restore the file, or remove"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data.update(seed=float("inf")), "damaged field"),
        (lambda data: data.update(images_per_shard=float("nan")), "damaged field"),
        (lambda data: data["color"].update(num_pixels=float("inf")), "damaged field"),
        (lambda data: data["classes"][0].update(name=None), "classes.0.name: .*found 'None'"),
        (lambda data: data["classes"][0].update(index=5), "has index 5, expected 0"),
        (lambda data: data.update(classes=None), "classes: "),
        (lambda data: data.update(classes={"a": 1}), "classes: "),
        (lambda data: data.pop("shards"), "shards: "),
        (lambda data: data["shards"][0].update(name="a\0.tar"), "not the plain name of a tar"),
        (lambda data: data["shards"][0].update(num_bytes=-1), "impossible count -1"),
        (lambda data: data["shards"][0].update(num_samples="many"), "num_samples"),
        (lambda data: data["pixels"].update(size_px=10**400), "size must be 8 to 4096 px"),
        (lambda data: data["pixels"].update(format="tga"), "pixels.format"),
        (lambda data: data.update(pixels=[]), "damaged field"),
        (lambda data: data["color"].pop("eigenvectors_rgb"), "eigenvectors_rgb"),
        (lambda data: data["color"].update(mean_rgb_0_255=[1, 2]), "mean_C"),
        (lambda data: data.update(num_samples=1), "says 1 samples, but its shards add up to 40"),
    ],
)
def test_a_damaged_field_with_a_right_hash_is_one_line(
    content: bytes, tmp_path: Path, change: Change, words: str
) -> None:
    data = json.loads(content)
    change(data)
    with pytest.raises(ValueError, match=words) as caught:
        Manifest.read(written(tmp_path, data))
    assert str(caught.value).startswith(str(tmp_path / "manifest.json"))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[1]", "9" * 5000, "null", '{"format_version": {}}', "\xff"])
def test_what_is_no_manifest_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"manifest\.json: (not JSON|format version)"):
        Manifest.read(tmp_path)


def test_format_2_is_still_read(content: bytes, tmp_path: Path) -> None:
    """As the first version of this project wrote it: other names, no sample index, no geometry."""
    new = json.loads(content)
    old = {name: value for name, value in new.items() if name not in ("index_sha256", "alexkit_version", "color")}
    old |= {"format_version": 2, "colour": new["color"]}
    for name in ("patched", "warnings", "num_enlarged"):
        old.pop(name, None)
    pixels = {name: value for name, value in new["pixels"].items() if name in PIXELS_OF_2}
    old["pixels"] = pixels | {"codec": new["pixels"]["format"], "strict": True}
    manifest = Manifest.read(written(tmp_path, old))
    assert manifest.pixels.geometry == "crop-then-resize" and not manifest.pixels.lenient
    assert manifest.index_sha256 == manifest.alexkit_version == "" and manifest.num_samples == 40


PIXELS_OF_2 = ("size_px", "fit", "filter", "quality", "chroma")
