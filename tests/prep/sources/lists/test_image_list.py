"""Laws of lists of images: CSV and JSONL say the same, and every wrong line is named."""

import functools
import http.server
import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.build.build import BuildOptions, build_shards
from alexkit.prep.format.pixel_options import PixelOptions
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.labels import Unlabeled
from alexkit.prep.sources.lists import image_list
from alexkit.prep.sources.reader import Reader

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
        tree = tree_hashes(out)
        for split in ("train", "val"):  # the manifests too, but for what follows from where images lie
            tree.pop(f"{split}/sources.jsonl")
            manifest = json.loads((out / split / "manifest.json").read_bytes())
            del manifest["sources_sha256"], manifest["manifest_sha256"]
            tree[f"{split}/manifest.json"] = json.dumps(manifest)
        trees.append(tree)
    assert trees[0] == trees[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg"):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / name).write_bytes(name.encode())
    (tmp_path / "outside.jpg").write_bytes(b"x")
    return tmp_path / "set"


@pytest.mark.parametrize("collide", [False, True])
def test_without_split_all_are_train_and_equal_file_names_stay_apart(
    folder: Path, monkeypatch: pytest.MonkeyPatch, collide: bool
) -> None:
    if collide:  # rows are first told apart by hashes, and equal hashes decide nothing
        monkeypatch.setattr(image_list, "hash", lambda key: 0, raising=False)
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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "path,label\na/1.jpg,2\na/2.jpg,10\n"),
        ("l.jsonl", '{"path": "a/1.jpg", "label": 2}\n{"path": "a/2.jpg", "label": 10}\n'),
        ("l.txt", "a/1.jpg 2\na/2.jpg 10\n"),
    ],
)
def test_whole_numbers_are_class_indices_and_gaps_are_noted(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    source = open_source(folder / name)
    assert [image.label for image in source.splits[0].images] == [2, 10]
    assert [entry.id for entry in source.splits[0].classes] == [str(i) for i in range(11)]
    assert "train: 9 of 11 classes have no images: 0, 1, 3, …" in source.notes


def test_numbers_of_one_width_are_names(folder: Path) -> None:
    (folder / "l.csv").write_text("path,label\na/1.jpg,009\na/2.jpg,100\n")
    assert [entry.id for entry in open_source(folder / "l.csv").splits[0].classes] == ["009", "100"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "file_name,label\na/1.jpg,x\n"),
        ("l.csv", "filename,label\na/1.jpg,x\n"),
        ("l.csv", "image,class\na/1.jpg,x\n"),
        ("l.csv", "Path,Label\na/1.jpg,x\n"),
        ("l.csv", "path, label\na/1.jpg,x\n"),
        ("l.csv", "path\tlabel\na/1.jpg\tx\n"),
        ("l.csv", "path;label\na/1.jpg;x\n"),
        ("l.tsv", "path\tlabel\na/1.jpg\tx\n"),
        ("l.csv", "image,path,label,class_id\nno,a/1.jpg,x,7\n"),
        ("l.jsonl", '{"file_name": "a/1.jpg", "class_name": "x"}\n'),
        ("l.txt", "a/1.jpg x\n"),
        ("l.txt", "a/1.jpg\tx\n"),
    ],
)
def test_columns_go_by_their_usual_names(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (split,) = open_source(folder / name).splits
    assert [(image.name, image.read()) for image in split.images] == [("x/1.jpg", b"a/1.jpg")]


def test_columns_are_named_where_several_may_be_meant(folder: Path) -> None:
    (folder / "l.csv").write_text("file,image,target,category\na/1.jpg,b/1.jpg,x,y\n")
    with pytest.raises(InputError, match="line 1: several columns match: file, image; choose one by --image"):
        open_source(folder / "l.csv")
    options = SourceOptions(image_column="image", label_column="category")
    (split,) = open_source(folder / "l.csv", options).splits
    assert [(image.name, image.read()) for image in split.images] == [("y/1.jpg", b"b/1.jpg")]
    with pytest.raises(InputError, match=r"no column 'img' .--image-column.; found file, image, target, category") as e:
        open_source(folder / "l.csv", SourceOptions(image_column="img"))
    assert type(e.value) is InputError
    with pytest.raises(Unlabeled, match=r"no column 'kind' .--label-column.; found file, image, target, category"):
        open_source(folder / "l.csv", SourceOptions(image_column="image", label_column="kind"))


@pytest.mark.parametrize(
    ("written", "split"), [("valid", "val"), ("Validation", "val"), ("dev", "val"), ("TEST", "test")]
)
def test_splits_go_by_their_usual_names(folder: Path, written: str, split: str) -> None:
    (folder / "l.csv").write_text(f"path,label,subset\na/1.jpg,x,training\na/2.jpg,x,{written}\n")
    assert [one.name for one in open_source(folder / "l.csv").splits] == ["train", split]
    (folder / f"{written}.csv").write_text("path,label\na/1.jpg,x\n")
    assert [one.name for one in open_source(folder / f"{written}.csv").splits] == [split]


def test_lists_called_by_splits_make_a_folder_a_source(folder: Path) -> None:
    (folder / "train.txt").write_text("a/1.jpg 0\na/2.jpg 1\n")
    (folder / "val.txt").write_text("b/1.jpg 1\n")
    train, val = open_source(folder).splits
    assert [image.name for image in train.images] == ["0/1.jpg", "1/2.jpg"]
    assert [(image.name, image.label) for image in val.images] == [("1/1.jpg", 1)] and val.classes == train.classes


def test_a_list_called_by_a_split_goes_before_the_folders_beside_it_and_it_is_said(folder: Path) -> None:
    (folder / "train.txt").write_text("a/1.jpg cat\n")
    source = open_source(folder)
    assert [image.name for image in source.splits[0].images] == ["cat/1.jpg"]
    assert "read as train.txt lists it; --layout class-folders reads its folders instead" in source.notes[0]
    (split,) = open_source(folder, SourceOptions(layout="class-folders")).splits
    assert split.images_per_class() == {"a": 2, "b": 1}
    (folder / "train.txt").write_text("a/1\n")
    with pytest.raises(InputError, match=r"train.txt, line 1: 'a/1'; .*; or pass --layout class-folders to read"):
        open_source(folder)


def test_further_columns_are_kept_on_request(folder: Path) -> None:
    (folder / "l.jsonl").write_text('{"path": "a/1.jpg", "label": "x", "caption": "a thing", "boxes": [[1, 2]]}\n')
    (split,) = open_source(folder / "l.jsonl", SourceOptions(keep=("caption", "boxes"))).splits
    kept = {extra.ext: extra.read() for extra in split.images[0].extras}
    assert kept == {"caption.txt": b"a thing", "boxes.json": b"[[1, 2]]"}
    with pytest.raises(InputError, match="--keep width: no image has a member, column or file of that name"):
        open_source(folder / "l.jsonl", SourceOptions(keep=("width",)))


def test_a_missing_image_is_a_note_and_one_quarantined_input(draw_source: Callable[..., Path], tmp_path: Path) -> None:
    """It once ended the run at its line, one missing image at a time."""
    folder = draw_source(splits=("train",))
    one, other = (path.relative_to(folder) for path in sorted(folder.rglob("*.JPEG"))[:2])
    (folder / "l.csv").write_text(f"path,label\n{one},x\nx/8.JPEG,x\n{other},y\ny/9.JPEG,y\n")
    source = open_source(folder / "l.csv")
    (note,) = source.notes
    assert (
        note.startswith("2 of 4 listed images are missing") and "l.csv, line 3: " in note and "8.JPEG: No such" in note
    )
    (built,) = build_shards(source, tmp_path / "out", BuildOptions(pixels=PixelOptions(size_px=32), num_workers=1))
    manifest = built.shard_set.manifest
    assert manifest.num_samples == 2
    assert {one.source: one.reason for one in manifest.quarantined} == {
        "x/8.JPEG": "cannot be read: No such file or directory",
        "y/9.JPEG": "cannot be read: No such file or directory",
    }


def test_a_dead_link_is_quarantined_like_a_missing_file(folder: Path) -> None:
    files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), files) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        (folder / "l.csv").write_text(f"path,label\n{at}/a/1.jpg,x\n{at}/a/9.jpg,x\n")
        source = open_source(folder / "l.csv")
        reader = Reader(source.splits[0].images)
        first, second = source.splits[0].images
        assert reader.read(first) == (folder / "a/1.jpg").read_bytes()
        with pytest.raises(InputError, match="cannot be read: no such object"):
            reader.read(second)
        (folder / "l.csv").write_text(f"path,label\n{at}/a/9.jpg,x\n")
        with pytest.raises(InputError, match=r"line 2: .*a/9.jpg: no such object; correct the path"):
            open_source(folder / "l.csv")
        server.shutdown()
    assert source.notes[0].startswith("1 of 2 listed images are missing") and f"line 3: {at}/a/9.jpg" in source.notes[0]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("l.csv", "", "line 1: the header is ''; expected the columns path, label"),
        ("l.csv", "path,width\na/1.jpg,x\n", "line 1: the header is 'path,width'"),
        ("l.csv", "path,label\n", "lists no images"),
        ("l.csv", "path,label\na/1.jpg,x,y\n", "line 2: 3 fields, but the header has 2"),
        ("l.csv", 'path,label\na/1.jpg,"x\n', "line 2: not CSV"),
        (
            "l.csv",
            "path,label\na/1.jpg,x\na/2.jpg,\n",
            "line 3: label is missing; expected nonempty text .* in every row",
        ),
        ("l.csv", "path,label\na/1.jpg,x\na/../a/1.jpg,y\n", "line 3: a/../a/1.jpg is listed again, first in line 2"),
        ("l.csv", "path,label\na/9.jpg,x\n", "line 2: .*a/9.jpg: No such file"),
        ("l.csv", "path,label\na,x\n", "line 2: .*a: not a file"),
        ("l.csv", "path,label\na/../../outside.jpg,x\n", "line 2: .* leads out of .*; if intended, write"),
        (
            "l.csv",
            "path,label,split\na/1.jpg,x,extra\n",
            "line 2: split is 'extra'; expected train: train, training",
        ),
        ("l.csv", "path,label,split\na/1.jpg,x,train\na/2.jpg,y,val\n", "different classes"),
        ("l.jsonl", '{"path": "a/1.jpg", "label": "x"}\n{"path": "a/2.jpg"}\n', "line 2: label is missing"),
        ("l.jsonl", '{"path": "a/1.jpg", "label": [3]}\n', r"line 1: label is \[3\]; expected nonempty text"),
        ("l.jsonl", '{"path": "a/1.jpg", "label": "\\ud800"}\n', r"line 1: label '\\ud800' is not valid Unicode"),
        ("l.jsonl", '{"path": "\\ud800.jpg", "label": "x"}\n', r"line 1: path '\\ud800\.jpg' is not valid Unicode"),
        ("l.jsonl", "\n{path}\n", "line 2: not JSON"),
        ("l.jsonl", '["a/1.jpg", "x"]\n', "line 1: not an object"),
        ("l.jsonl", "\n", "lists no images"),
        (
            "l.lst",
            "a/1.jpg x\n",
            "a file, but not a list of images; expected a folder, a .zip of class folders",
        ),
        ("l.txt", "a/1.jpg\n", "l.txt: no row of train has a label .* --unlabeled"),
        ("l.txt", "a/1.jpg x\na/2.jpg\n", "line 2: label is missing; expected nonempty text .* in every row"),
        ("l.txt", "alone\n", "line 1: 'alone'; expected a path and a label"),
        ("l.txt", "a/1.jpg\tcat\t3\n", "line 1: .* with one tab between them"),
        ("l.csv", "path,label\na/1.jpg,x\na/2.jpg,3\n", "line 3: label 3, a number among names such as 'x'"),
        ("l.csv", "path,label\na/1.jpg,-3\n", "line 2: label -3; expected a class index"),
    ],
)
def test_a_wrong_list_is_refused_by_file_and_line(folder: Path, name: str, text: str, words: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=words) as refused:
        open_source(folder / name)
    assert str(folder / name) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "path\na/1.jpg\nb/1.jpg\n"),
        ("l.csv", "path,label\na/1.jpg,\nb/1.jpg,-1\n"),
        ("l.jsonl", '{"path": "a/1.jpg"}\n{"path": "b/1.jpg", "label": null}\n'),
        ("l.txt", "a/1.jpg\nb/1.jpg\n"),
        ("l.txt", "a/1.jpg -1\nb/1.jpg -1\n"),
    ],
)
def test_a_list_without_labels_is_refused_or_stored_without(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(Unlabeled, match=r"pass --unlabeled to store the images without"):
        open_source(folder / name)
    (split,) = open_source(folder / name, SourceOptions(unlabeled=True)).splits
    assert [image.name for image in split.images] == ["unlabeled/a/1.jpg", "unlabeled/b/1.jpg"]


def test_the_test_split_of_a_list_is_left_out_where_only_it_has_no_labels(folder: Path) -> None:
    (folder / "l.csv").write_text("path,label,split\na/1.jpg,cat,train\na/2.jpg,,test\nb/1.jpg,,test\n")
    source = open_source(folder / "l.csv")
    assert [split.name for split in source.splits] == ["train"]
    assert source.notes[0].startswith(f"left out: {folder / 'l.csv'}: no row of test has a label (the first is line 3)")
    train, test = open_source(folder / "l.csv", SourceOptions(unlabeled=True)).splits
    assert train.images_per_class() == {"cat": 1} and test.images_per_class() == {"unlabeled": 2}
    (folder / "l.csv").write_text("path,label\na/1.jpg,cat\n")
    (folder / "train.csv").write_text("path,label\na/1.jpg,cat\n")
    (folder / "test.csv").write_text("path\na/2.jpg\n")
    assert [split.name for split in open_source(folder).splits] == ["train"]


def test_columns_with_spaces_and_dots_are_kept(folder: Path) -> None:
    (folder / "l.csv").write_text("path,label,image caption,exif.date\na/1.jpg,cat,a cat,1999\n")
    (split,) = open_source(folder / "l.csv", SourceOptions(keep=("image caption", "exif.date"))).splits
    assert [(one.ext, one.content) for one in split.images[0].extras] == [
        ("exif-date.txt", b"1999"),
        ("image-caption.txt", b"a cat"),
    ]


def test_labels_of_several_words_follow_a_tab(folder: Path) -> None:
    (folder / "l.txt").write_text("a/1.jpg\tgolden retriever\nb/1.jpg\tcat\n")
    (split,) = open_source(folder / "l.txt").splits
    assert [entry.id for entry in split.classes] == ["cat", "golden retriever"]


def test_a_line_without_an_end_takes_little_memory(folder: Path) -> None:
    with (folder / "l.csv").open("wb") as file:
        file.truncate(2**34)  # sparse
    with pytest.raises(InputError, match="line 1: longer than 1048576 bytes; this is not a list"):
        open_source(folder / "l.csv")


def test_a_line_that_is_not_utf_8_is_named(folder: Path) -> None:
    (folder / "l.csv").write_bytes(b"path,label\na/1.jpg,caf\xe9\n")
    with pytest.raises(ValueError, match="line 2: not UTF-8"):
        open_source(folder / "l.csv")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", '"path", "label"\n"in/a b.jpg", "cat"\n"in/c,d.jpg", "dog"\n'),
        ("list.csv", 'path,label\nin\\a b.jpg,cat\n"in\\c,d.jpg",dog\n'),
        ("LIST.JSONL", '{"path": "in/a b.jpg", "label": "cat"}\n{"path": "in/c,d.jpg", "label": "dog"}\n'),
        ("LIST.TXT", "in/a b.jpg cat\nin/c,d.jpg dog\n"),
        ("LIST.CSV", "path;label\nin/a b.jpg;cat\nin/c,d.jpg;dog\n"),
    ],
)
def test_lists_of_spreadsheets_and_of_windows_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / "in").mkdir()
    for image in ("a b.jpg", "c,d.jpg"):
        (tmp_path / "in" / image).write_bytes(b"x")
    (tmp_path / name).write_text(text)
    (split,) = open_source(tmp_path / name).splits
    assert [image.name for image in split.images] == ["cat/a b.jpg", "dog/c,d.jpg"]
