"""Laws of lists of images: CSV and JSONL say the same, and every wrong line is named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources.recognize import open_source

Row = tuple[str, str, str]


def write_list(path: Path, rows: list[Row]) -> Path:
    if path.suffix == ".csv":
        lines = ["label,path,width,split", *(f'{label},"{name}",80,{split}' for name, label, split in rows)]
    else:
        lines = [json.dumps({"path": name, "label": label, "split": split}) for name, label, split in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_list_gives_the_same_bytes_as_class_folders(
    tmp_path: Path,
    draw_source: Callable[..., Path],
    tree_hashes: Callable[[Path], dict[str, str]],
    suffix: str,
    absolute: bool,
) -> None:
    folders = draw_source()
    rows = [
        (str(path if absolute else path.relative_to(folders)), path.parent.name, path.parent.parent.name)
        for path in sorted(folders.rglob("*.JPEG"), reverse=True)
    ]
    place = tmp_path / "elsewhere" if absolute else folders
    place.mkdir(exist_ok=True)
    list_path = write_list(place / f"images{suffix}", rows)
    options = BuildOptions(pixels=PixelOptions(size_px=32), images_per_shard=4, num_workers=1)
    trees = []
    for name, source in (("folders", folders), ("list", list_path)):
        out = tmp_path / f"out-{name}"
        build_shards(open_source(source), out, options, on_split=lambda split: lambda done, num_bad: None)
        trees.append(tree_hashes(out))
    assert trees[0] == trees[1]  # the manifests too: ids are names in both


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(name.encode())
    (tmp_path / "outside.jpg").write_bytes(b"x")
    return tmp_path / "set"


def test_without_split_all_are_train_and_equal_file_names_stay_apart(folder: Path) -> None:
    (folder / "l.csv").write_text("\ufeffpath,label\nb/1.jpg,cat\n\na/1.jpg,cat\na/2.jpg,ant\n")
    source = open_source(folder / "l.csv")
    (split,) = source.splits
    assert split.name == "train" and [entry.id for entry in split.classes] == ["ant", "cat"]
    assert [(image.name, image.label, image.read()) for image in split.images] == [
        ("ant/2.jpg", 0, b"a/2.jpg"),
        ("cat/a/1.jpg", 1, b"a/1.jpg"),
        ("cat/b/1.jpg", 1, b"b/1.jpg"),
    ]
    assert str(folder / "l.csv") in source.description and source.notes == ()


def test_numbers_as_labels_are_sorted_as_text_and_a_note_says_so(folder: Path) -> None:
    (folder / "l.csv").write_text("path,label\na/1.jpg,2\na/2.jpg,10\n")
    source = open_source(folder / "l.csv")
    assert [entry.id for entry in source.splits[0].classes] == ["10", "2"]
    assert "sorted as text, so '2' is class 1" in source.notes[0]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("l.csv", "", "line 1: the header is ''; expected the columns path, label"),
        ("l.csv", "path,class\na/1.jpg,x\n", "line 1: the header is 'path,class'"),
        ("l.csv", "path,label\n", "lists no images"),
        ("l.csv", "path,label\na/1.jpg,x,y\n", "line 2: 3 fields, the header has 2"),
        ("l.csv", 'path,label\na/1.jpg,"x\n', "line 2: not CSV"),
        ("l.csv", "path,label\na/1.jpg,x\na/1.jpg,\n", "line 3: label is ''; expected text"),
        ("l.csv", "path,label\na/1.jpg,x\na/../a/1.jpg,y\n", "line 3: a/../a/1.jpg again, first in line 2"),
        ("l.csv", "path,label\na/9.jpg,x\n", "line 2: .*a/9.jpg: No such file"),
        ("l.csv", "path,label\na,x\n", "line 2: .*a: not a file"),
        ("l.csv", "path,label\na/../../outside.jpg,x\n", "line 2: .* leads out of .*; write an absolute path"),
        ("l.csv", "path,label,split\na/1.jpg,x,test\n", "line 2: split is 'test'; expected train or val"),
        ("l.csv", "path,label,split\na/1.jpg,x,train\na/2.jpg,y,val\n", "different classes"),
        ("l.jsonl", '{"path": "a/1.jpg", "label": "x"}\n{"path": "a/2.jpg"}\n', "line 2: label is missing"),
        ("l.jsonl", '{"path": "a/1.jpg", "label": 3}\n', "line 1: label is 3; expected text"),
        ("l.jsonl", '{"path": "a/1.jpg", "label": "\\ud800"}\n', r"line 1: label '\\ud800' is not Unicode"),
        ("l.jsonl", '{"path": "\\ud800.jpg", "label": "x"}\n', r"line 1: path '\\ud800\.jpg' is not Unicode"),
        ("l.jsonl", "\n{path}\n", "line 2: not JSON"),
        ("l.jsonl", '["a/1.jpg", "x"]\n', "line 1: not an object"),
        ("l.jsonl", "\n", "lists no images"),
        ("l.txt", "a/1.jpg x\n", "a file, but no list of images; expected a folder, a .csv or a .jsonl"),
    ],
)
def test_a_wrong_list_is_refused_by_file_and_line(folder: Path, name: str, text: str, words: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=words) as refused:
        open_source(folder / name)
    assert str(folder / name) in str(refused.value)


def test_a_line_that_is_not_utf_8_is_named(folder: Path) -> None:
    (folder / "l.csv").write_bytes(b"path,label\na/1.jpg,caf\xe9\n")
    with pytest.raises(ValueError, match="line 2: not UTF-8"):
        open_source(folder / "l.csv")
