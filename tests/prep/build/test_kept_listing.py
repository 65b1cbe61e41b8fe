"""Laws of the kept listing: columns give the images back, and the parts of a run list their source once."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alexkit.prep import BuildOptions, PixelOptions, build_shards, open_source
from alexkit.prep.build.build import WORK_FOLDER
from alexkit.prep.build.kept_listing import kept_source, source_of_part
from alexkit.prep.sources import SourceImage, recognize
from alexkit.prep.sources.columns.gathered import Gathered
from alexkit.prep.sources.columns.listed import ListedImages
from alexkit.prep.sources.folders.store_folder import StoreImage
from alexkit.prep.sources.inputs import Extra, FileImage
from alexkit.prep.storage import StoreUrl

OPTIONS = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=1)
A_STORE = StoreUrl("s3", "bucket", "a#b?c/1.jpg")


def images() -> list[SourceImage]:
    """Of several kinds and with everything that an image can have."""
    many: list[SourceImage] = [FileImage(f"cat/{i}.jpg", 0, f"/photos/cat/{i}.jpg", 10 + i) for i in range(300)]
    return [
        *many,
        FileImage("dog/\udcffx.jpg", 1, "/photos/dog/\udcffx.jpg", 2**33, extras=(Extra("txt", b"\0\xff"),)),
        FileImage("dog/in.jpg", 1, "/photos/dog.tar", 5, 512, (Extra("json", b"", "/photos/dog.tar", 1024, 7),)),
        StoreImage("cat/1.jpg", 0, A_STORE, 5, '"tag"'),
        StoreImage("cat/2.jpg", 0, A_STORE, 5, None),
    ]


def columns_of(some: Iterable[SourceImage]) -> ListedImages:
    listed = Gathered().extend(some).images()
    assert isinstance(listed, ListedImages)
    return listed


def kept(listed: ListedImages, folder: Path) -> ListedImages:
    with (folder / "x.inputs").open("wb") as file:
        listed.write(file, {"of": "test"})
    return ListedImages.open(folder / "x.inputs")


@pytest.mark.parametrize("count", [0, 1, 2, 300, 302, 304])
def test_columns_give_every_image_back_in_memory_and_from_a_file(tmp_path: Path, count: int) -> None:
    expected = images()[:count]
    listed = columns_of(expected)
    assert list(listed) == expected and len(listed) == count
    mapped = kept(listed, tmp_path)
    assert list(mapped) == expected and mapped[1:3] == expected[1:3] and mapped.about == {"of": "test"}
    places = np.arange(count)[::-1]
    assert list(mapped.take(places)) == list(listed.take(places)) == expected[::-1]


def test_a_zip_file_and_its_columns_are_the_same(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    source = draw_source(splits=("train",))
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*.JPEG")):
            archive.write(path, path.relative_to(source))
    found = open_source(tmp_path / "z.zip").splits[0].images
    assert isinstance(found, ListedImages)
    again = kept(found, tmp_path)
    assert [image.read() for image in again] == [path.read_bytes() for path in sorted(source.rglob("*.JPEG"))]


def test_an_image_takes_little_room_and_a_job_less() -> None:
    names = [f"n{i // 1300:08d}/n{i // 1300:08d}_{i}" for i in range(20_000)]
    listed = columns_of(FileImage(f"{name}.JPEG", 1, f"/x/train/{name}.JPEG", 9**5) for name in names)
    assert listed.num_bytes < 50 * len(names)


def test_no_password_is_kept() -> None:
    first = FileImage("a/0.jpg", 0, "/a/0.jpg", 1)
    for url in (StoreUrl("https", "h", "1.jpg", "me:secret"), StoreUrl("https", "h", "1.jpg", query="sig=x")):
        found = Gathered().extend([first] * 20_000 + [StoreImage("a/1.jpg", 0, url, 1, None), first]).images()
        assert found == [first] * 20_000 + [StoreImage("a/1.jpg", 0, url, 1, None), first]


def test_a_damaged_listing_is_named(tmp_path: Path) -> None:
    listed = columns_of(images())
    kept(listed, tmp_path)
    path = tmp_path / "x.inputs"
    content = path.read_bytes()
    for damaged in (content[:-64], b"x" + content[1:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"x\.inputs"):
            ListedImages.open(path)


def test_later_parts_do_not_look_at_the_source(
    draw_source: Callable[..., Path],
    tmp_path: Path,
    tree_hashes: Callable[[Path], dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, out = draw_source(), tmp_path / "out"
    build_shards(open_source(source), tmp_path / "one", OPTIONS)
    first = source_of_part(source, None, out)
    opened: list[object] = []
    monkeypatch.setattr(recognize, "_open", lambda *rest: opened.append(rest))
    second = source_of_part(source, None, out)
    assert not opened and [list(one.images) for one in second.splits] == [list(one.images) for one in first.splits]
    assert kept_source(out / WORK_FOLDER, "another request") is None
    for number, found in ((0, first), (1, second)):
        options = replace(OPTIONS, part=(number, 2))
        build_shards(found, out, options)
    assert tree_hashes(out) == tree_hashes(tmp_path / "one")


def test_parts_that_start_at_once_list_once(draw_source: Callable[..., Path], tmp_path: Path) -> None:
    source, out = draw_source(), tmp_path / "out"
    command = [sys.executable, "-m", "alexkit.cli.alexprep", "shard", str(source), "--out", str(out), "--size", "32"]
    command += ["--images-per-shard", "4", "--workers", "1"]
    counted = "import sys; from alexkit.prep.sources import recognize as r; one = r._open\n"
    counted += "def more(*a):\n    print('LISTED', flush=True); return one(*a)\n"
    counted += "r._open = more; from alexkit.cli.alexprep import alexprep; sys.argv[0] = 'alexprep'; alexprep()"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", counted, *command[3:], "--part", f"{number}/3"], stdout=subprocess.PIPE, text=True
        )
        for number in range(3)
    ]
    texts = [run.communicate(timeout=120)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0] and sum(text.count("LISTED") for text in texts) == 1
    assert json.loads((out / "train/manifest.json").read_bytes())["split"] == "train"


def test_a_source_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        source_of_part(tmp_path / "nothing", None, tmp_path / "out")
    assert not any(tmp_path.rglob(f"{WORK_FOLDER}/*"))
