"""Laws of WebDataset shards as a source: read in place, the same bytes as class folders, refused by tar and sample."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.prep.build.build import BuildOptions, BuiltSplit, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import open_source

Members = dict[str, bytes]


def write_tar(path: Path, members: Members) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def build(source: Path, out: Path, pixels: PixelOptions) -> list[BuiltSplit]:
    options = BuildOptions(pixels=pixels, images_per_shard=4, num_workers=1)
    return build_shards(open_source(source), out, options, on_split=lambda split: lambda done, num_bad: None)


@pytest.fixture
def layouts(tmp_path: Path, draw_source: Callable[..., Path]) -> tuple[Path, Path]:
    """The same images as class folders `0`, `1`, `2` and as shards with both kinds of labels."""
    folders, shards = draw_source(), tmp_path / "shards"
    for label, folder in enumerate(sorted(folders.glob("*/n*"))):
        folder.rename(folder.with_name(str(label % 3)))
    for split, name, extension in (("train", "set-train", "jpg"), ("val", "set-validation", "jpeg")):
        paths = sorted((folders / split).glob("*/*"), key=lambda path: path.read_bytes())
        for number in range(2):
            members: Members = {}
            for i, path in enumerate(paths[number::2]):
                label = path.parent.name
                kind, content = ("cls", label) if i % 2 else ("json", json.dumps({"label": int(label), "x": [1]}))
                members |= {f"{path.stem}.{extension}": path.read_bytes(), f"{path.stem}.{kind}": content.encode()}
                members[f"{path.stem}.caption.txt"] = b"something else"
            write_tar(shards / f"{name}-{number:04d}.tar", members)
    return folders, shards


def test_the_same_images_give_the_same_shards_as_class_folders(
    layouts: tuple[Path, Path], give_the_same_shards: Callable[[Path, Path], None]
) -> None:
    give_the_same_shards(*layouts)


def test_our_own_shards_are_a_source_with_their_classes_and_names(
    tmp_path: Path, draw_source: Callable[..., Path], tree_hashes: Callable[[Path], dict[str, str]]
) -> None:
    pixels = PixelOptions(size_px=32, format="png")
    build(draw_source(), tmp_path / "once", pixels)
    assert open_source(tmp_path / "once").description.count("WebDataset shards in") == 2
    build(tmp_path / "once", tmp_path / "twice", pixels)
    once, twice = (tree_hashes(tmp_path / name) for name in ("once", "twice"))
    assert {name for name in once if once[name] != twice[name]} == {"train/manifest.json", "val/manifest.json"}


def test_a_folder_of_shards_alone_is_one_split(layouts: tuple[Path, Path], tmp_path: Path) -> None:
    for number, path in enumerate(sorted(layouts[1].glob("*train*"))):
        (tmp_path / "alone").mkdir(exist_ok=True)
        path.rename(tmp_path / "alone" / f"{number}.tar")
    (split,) = open_source(tmp_path / "alone").splits
    assert split.name == "train" and split.images_per_class() == {"0": 5, "1": 5, "2": 5}


GOOD = {"a.jpg": b"x", "a.cls": b"1", "b.jpg": b"y", "b.cls": b"0\n"}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({**GOOD, "c.jpg": b"z"}, "sample 'c' has the members jpg; expected one image .* and a label"),
        ({**GOOD, "c.cls": b"0"}, "sample 'c' has the members cls; expected one image"),
        ({**GOOD, "c.jpg": b"z", "c.png": b"z", "c.cls": b"0"}, "sample 'c' has the members cls, jpg, png"),
        ({**GOOD, "c.jpg": b"z", "c.cls": b"cat"}, "sample 'c': label 'cat', a name among numbers such as 1"),
        ({**GOOD, "c.jpg": b"z", "c.cls": b"-1"}, "sample 'c': label -1; expected a class index"),
        ({**GOOD, "c.jpg": b"z", "c.cls": b"123456"}, "sample 'c': label 123456; expected a class index"),
        ({**GOOD, "c.jpg": b"z", "c.json": b"{}"}, "sample 'c': no label"),
        (
            {**GOOD, "c.jpg": b"z", "c.json": b'{"label": true}'},
            "sample 'c': label True in its .json, which has the keys label; expected a class index",
        ),
        ({**GOOD, "c.jpg": b"z", "c.json": b"{"}, "sample 'c': its .json cannot be read"),
        ({**GOOD, "c.JPG": b"z", "c.jpg": b"z", "c.cls": b"0"}, "'c.jpg' is there twice"),
        ({"c.raw": b"y", "c.cls": b"0"}, "sample 'c' has the members cls, raw; expected one image"),
        ({"b.jpg": b"y", "b.cls": b"0", "c.x": b""}, "sample 'c' has the members x"),
        ({**GOOD, "d.jpg": b"x", "d.cls": b"0", "a.png": b"y"}, "sample 'a' has the members cls, jpg, png"),
    ],
)
def test_a_sample_that_cannot_be_meant_is_refused_by_name(tmp_path: Path, members: Members, words: str) -> None:
    write_tar(tmp_path / "train/0.tar", members)
    with pytest.raises(ValueError, match=rf"0\.tar: {words}"):
        open_source(tmp_path)


def test_a_label_that_the_class_table_lacks_is_refused(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    build(draw_source(splits=("train",)), tmp_path / "out", PixelOptions(size_px=32))
    write_tar(tmp_path / "out/train/train-00009.tar", {"a.jpg": b"x", "a.cls": b"3"})
    with pytest.raises(ValueError, match=r"train-00009.tar: sample 'a': label 3; expected a class index, 0 to 2"):
        open_source(tmp_path / "out")


def test_a_shard_that_is_cut_is_refused(layouts: tuple[Path, Path]) -> None:
    path = layouts[1] / "set-train-0001.tar"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"set-train-0001.tar: .*not complete"):
        open_source(layouts[1])


def test_two_families_of_shards_are_for_a_person_to_choose(layouts: tuple[Path, Path]) -> None:
    write_tar(layouts[1] / "other_train-0000.tar", GOOD)
    with pytest.raises(ValueError, match=r"training split: other_train-.* \(WebDataset shards\) and set-train-"):
        open_source(layouts[1])
