"""Laws of WebDataset shards as a source: read in place, the same bytes as class folders, refused by tar and sample."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alexkit.errors import InputError
from alexkit.prep.build.build import BuildOptions, BuiltSplit, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.tars.samples import labeled_samples

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
    source = open_source(tmp_path / "once")
    assert source.description.count("WebDataset shards in") == 2 and source.passed_over == ()
    build(tmp_path / "once", tmp_path / "twice", pixels)
    once, twice = (tree_hashes(tmp_path / name) for name in ("once", "twice"))
    about = {f"{split}/{name}" for split in ("train", "val") for name in ("manifest.json", "sources.jsonl")}
    assert {name for name in once if once[name] != twice[name]} == about


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
        (
            {"c.jpg": b"z"},
            r"sample 'c' has .*; if each tar holds one class and this one .*'0', add --layout class-tars$",
        ),
        ({**GOOD, "c.jpg": b"z"}, "sample 'c' has the members jpg; expected one image .* and a label"),
        ({**GOOD, "c.cls": b"0"}, "sample 'c' has the members cls; expected one image"),
        ({**GOOD, "c.jpg": b"z", "c.png": b"z", "c.cls": b"0"}, "sample 'c' has the members cls, jpg, png"),
        ({**GOOD, "c.jpg": b"z", "c.cls": b"cat"}, "sample 'c': label 'cat', a name among numbers such as 1"),
        ({**GOOD, "c.jpg": b"z", "c.cls": b"-1"}, "sample 'c': label -1, which means no label"),
        ({**GOOD, "c.jpg": b"z", "c.cls": b"123456"}, "sample 'c': label 123456; expected a class index"),
        ({**GOOD, "c.jpg": b"z", "c.json": b"{}"}, "sample 'c': no label"),
        (
            {**GOOD, "c.jpg": b"z", "c.json": b'{"label": true}'},
            "sample 'c': label True in its .json, which has the keys label; expected a class index",
        ),
        ({**GOOD, "c.jpg": b"z", "c.json": b"{"}, "sample 'c': its .json cannot be read"),
        ({**GOOD, "c.JPG": b"z", "c.jpg": b"z", "c.cls": b"0"}, "'c.jpg' is in it twice"),
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


def numbers_of(source: Path, **options: Any) -> list[tuple[str, int]]:
    """Class id and label of every image of the train split."""
    split = open_source(source, SourceOptions(**options)).splits[0]
    return [(split.classes[image.label].id, image.label) for image in split.images]


@pytest.mark.parametrize(
    ("members", "options"),
    [
        ({"a.jpg": b"x", "a.cls": b"cat", "b.jpg": b"y", "b.cls": b"dog\n"}, {}),
        (
            {"a.jpg": b"x", "a.json": b'{"label": "cat"}', "b.jpg": b"y", "b.json": b'{"label": "dog", "class_id": 7}'},
            {},
        ),
        ({"a.jpg": b"x", "a.json": b'{"class_name": "cat"}', "b.jpg": b"y", "b.json": b'{"class_name": "dog"}'}, {}),
        (
            {"a.jpg": b"x", "a.json": b'{"kind": "cat"}', "b.jpg": b"y", "b.json": b'{"kind": "dog"}'},
            {"label_key": "kind"},
        ),
        ({"a.jpg": b"x", "a.txt": b"cat", "b.jpg": b"y", "b.txt": b"dog"}, {"label_key": "txt"}),
        ({"a.input.jpg": b"x", "a.target.cls": b"cat", "b.input.jpg": b"y", "b.target.cls": b"dog"}, {}),
        ({"i.v2.0.jpg": b"x", "i.v2.0.cls": b"cat", "i.v2.1.jpg": b"y", "i.v2.1.cls": b"dog"}, {}),
        (
            {"a.l.jpg": b"x", "a.r.jpg": b"-", "a.cls": b"cat", "b.l.jpg": b"y", "b.cls": b"dog"},
            {"image_column": "l.jpg"},
        ),
        (
            {"a.fine.cls": b"cat", "a.rough.cls": b"x", "a.jpg": b"x", "b.fine.cls": b"dog", "b.jpg": b"y"},
            {"label_key": "fine.cls"},
        ),
        ({"b.jpg": b"y", "a.jpg": b"x", "a.cls": b"cat", "b.cls": b"dog"}, {}),
        ({"._a.jpg": b"-", "a.jpg": b"x", "._a.cls": b"-", "a.cls": b"cat", "./b.jpg": b"y", "./b.cls": b"dog"}, {}),
        ({"a.jpg": b"x", "a.cls": b"cafe\xcc\x81", "b.jpg": b"y", "b.cls": b"dog"}, {}),
    ],
)
def test_labels_are_found_by_the_usual_conventions(tmp_path: Path, members: Members, options: dict[str, Any]) -> None:
    write_tar(tmp_path / "train/0.tar", members)
    cat = "caf\u00e9" if any(b"cafe" in content for content in members.values()) else "cat"
    assert numbers_of(tmp_path, **options) == [(cat, 0), ("dog", 1)]
    split = open_source(tmp_path, SourceOptions(**options)).splits[0]
    assert [image.read() for image in split.images] == [b"x", b"y"]


@pytest.mark.parametrize("key", ["label", "class_id", "fine_label", "target", "category_id"])
def test_numbers_in_json_go_by_their_usual_keys(tmp_path: Path, key: str) -> None:
    write_tar(tmp_path / "train/0.tar", {"a.jpg": b"x", "a.json": json.dumps({key: 1, "width": 7}).encode()})
    assert numbers_of(tmp_path) == [("1", 1)]


def test_several_keys_that_may_be_meant_are_for_a_person_to_choose(tmp_path: Path) -> None:
    write_tar(tmp_path / "train/0.tar", {"a.jpg": b"x", "a.json": b'{"target": 1, "category": 2}'})
    with pytest.raises(
        InputError, match=r"several keys may hold the label .target, category.; choose one with --label-key"
    ):
        open_source(tmp_path)
    assert numbers_of(tmp_path, label_key="category") == [("2", 2)]


@pytest.mark.parametrize(
    "members",
    [
        {f"{i}.jpg": b"x" for i in range(60)},
        {"a.jpg": b"x", "a.txt": b"a thing", "b.jpg": b"y", "b.txt": b"another"},
        {"a.jpg": b"x", "a.json": b'{"caption": "a thing"}'},
    ],
)
def test_unlabeled_tars_are_no_classes(tmp_path: Path, members: Members) -> None:
    write_tar(tmp_path / "set/train-00000.tar", members)
    write_tar(tmp_path / "set/train-00001.tar", members)
    with pytest.raises(
        InputError,
        match=r"train-00000.tar: sample '.'.*--label-key, or pass --unlabeled to store images without labels",
    ):
        open_source(tmp_path / "set")
    (split,) = open_source(tmp_path / "set", SourceOptions(unlabeled=True)).splits
    assert [entry.id for entry in split.classes] == ["unlabeled"]
    write_tar(tmp_path / "beside/train-0.tar", GOOD)
    write_tar(tmp_path / "beside/test-0.tar", members)
    source = open_source(tmp_path / "beside")
    assert [split.name for split in source.splits] == ["train"]
    assert any(note.startswith("left out: ") and "test-0.tar" in note for note in source.notes)


def test_tars_are_class_tars_only_by_synset_ids_or_when_told(tmp_path: Path) -> None:
    write_tar(tmp_path / "n/n00000001.tar", {"1.jpg": b"x", "._1.jpg": b"-"})
    write_tar(tmp_path / "n/n00000002.tar", {"2.jpg": b"y", "notes.txt": b"-"})
    source = open_source(tmp_path / "n")
    assert source.splits[0].images_per_class() == {"n00000001": 1, "n00000002": 1}
    assert source.passed_over[0].startswith("members of class tars that are not images: 2, e.g. n00000001.tar: ._1.jpg")
    write_tar(tmp_path / "c/cat.tar", {"1.jpg": b"x"})
    with pytest.raises(InputError, match=r"cat.tar: sample '1' has the members jpg; expected one image .* and a label"):
        open_source(tmp_path / "c")
    assert open_source(tmp_path / "c", SourceOptions(layout="class-tars")).splits[0].images_per_class() == {"cat": 1}


@pytest.mark.parametrize("damage", [lambda _: b"", lambda tar: tar[:600], lambda tar: tar[:1024]])
@pytest.mark.parametrize("number", [0, 1])
def test_a_family_called_train_is_the_training_split_whatever_its_first_tar_holds(
    tmp_path: Path, damage: Callable[[bytes], bytes], number: int
) -> None:
    for i in range(2):
        write_tar(tmp_path / f"train-{i}.tar", {f"{i}{name}": content for name, content in GOOD.items()})
    write_tar(tmp_path / "val-0.tar", GOOD)
    path = tmp_path / f"train-{number}.tar"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"train-{number}.tar: .*not complete"):
        open_source(tmp_path)


@pytest.mark.parametrize("place", ["train/", "train-"])
def test_a_compressed_tar_among_others_is_not_left_out(tmp_path: Path, place: str) -> None:
    write_tar(tmp_path / f"{place}0.tar", GOOD)
    (tmp_path / f"{place}1.tar.gz").write_bytes(b"x")
    with pytest.raises(InputError, match=r"1.tar.gz: a compressed tar beside tars of the same split; .*gunzip --keep"):
        open_source(tmp_path)
    write_tar(tmp_path / f"{place}1.tar", GOOD)
    assert len(open_source(tmp_path).splits[0].images) == 4


def test_what_lies_beside_shards_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "train/0.tar", GOOD)
    write_tar(tmp_path / "train/._0.tar", GOOD)
    (tmp_path / "train/notes.txt").write_text("x")
    source = open_source(tmp_path)
    assert len(source.splits[0].images) == 2
    assert source.passed_over == (
        f"files beside shards or other files of many images: {tmp_path / 'train/notes.txt'}",
        f"hidden and system files: {tmp_path / 'train/._0.tar'}",
    )


def test_members_that_lie_apart_are_joined_and_it_is_said(tmp_path: Path) -> None:
    write_tar(tmp_path / "train/0.tar", {"a.jpg": b"x", "b.jpg": b"y", "a.cls": b"1", "b.cls": b"0"})
    source = open_source(tmp_path)
    assert [(image.label, image.read()) for image in source.splits[0].images] == [(0, b"y"), (1, b"x")]
    assert "are not adjacent, e.g. of 'a'; they are joined here" in source.notes[0]
    assert "tar --sort=name" in source.notes[0]
    with pytest.raises(InputError, match="sample 'a' are not adjacent; sort its members"):
        list(labeled_samples(tmp_path / "train/0.tar"))


def test_members_and_json_keys_are_kept_on_request(tmp_path: Path) -> None:
    members = {"a.jpg": b"x", "a.cls": b"0", "a.caption.txt": b"a thing", "a.mask.png": b"m"}
    write_tar(tmp_path / "train/0.tar", members)
    (split,) = open_source(tmp_path, SourceOptions(keep=("caption.txt", "mask.png"))).splits
    assert {extra.ext: extra.read() for extra in split.images[0].extras} == {
        "caption.txt": b"a thing",
        "mask.png": b"m",
    }
    write_tar(tmp_path / "json/0.tar", {"a.jpg": b"x", "a.json": b'{"label": 0, "boxes": [1, 2], "caption": "c"}'})
    (split,) = open_source(tmp_path / "json", SourceOptions(keep=("caption", "boxes"))).splits
    assert {extra.ext: extra.read() for extra in split.images[0].extras} == {
        "caption.txt": b"c",
        "boxes.json": b"[1, 2]",
    }


def test_labels_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    members = {"a.jpg": b"x", "a.cls": b"\xef\xbb\xbf0\n", "b.jpg": b"y", "b.json": b'\xef\xbb\xbf{"label": 1}'}
    write_tar(tmp_path / "set/train-0.tar", members)
    assert [entry.id for entry in open_source(tmp_path / "set").splits[0].classes] == ["0", "1"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b'{"label": "\\ud800x"}', r"train-0.tar: sample 'a': the class name '\\ud800x' is not valid Unicode; correct"),
        (b'{"label": 0, "x": "\\ud800"}', r"--keep: x is '\\ud800', which is not valid Unicode; correct it"),
    ],
)
def test_half_characters_in_json_are_refused(tmp_path: Path, row: bytes, words: str) -> None:
    write_tar(tmp_path / "set/train-0.tar", {"a.jpg": b"x", "a.json": row})
    with pytest.raises(InputError, match=words):
        open_source(tmp_path / "set", SourceOptions(keep=("x",) if b'"x"' in row else ()))


@pytest.mark.parametrize("folder", ["", "winter21_whole/"])
def test_a_tar_of_class_tars_is_answered_by_unpacking_it(tmp_path: Path, folder: str) -> None:
    write_tar(tmp_path / "winter21_whole.tar", {f"{folder}n00004475.tar": b"x", f"{folder}n00005787.tar": b"y"})
    with pytest.raises(InputError, match=r"holds tars, e.g. .*n00004475.tar; unpack it \(tar -xf winter21_whole.tar\)"):
        open_source(tmp_path)
