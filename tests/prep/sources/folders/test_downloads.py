"""Laws of what downloads unpack to: Tiny ImageNet, img2dataset and zip files give what class folders would."""

import json
import os
import shutil
import stat
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.sources import Source, SourceOptions, open_source


def fingerprints(source: Source) -> list[str]:
    return [split.fingerprint() for split in source.splits]


def tiny_imagenet(folders: Path, folder: Path) -> Path:
    for path in sorted((folders / "train").rglob("*.JPEG")):
        inner = folder / "train" / path.parent.name / "images"
        inner.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, inner)
        (inner.parent / f"{path.parent.name}_boxes.txt").write_text("a.JPEG\t0\t0\t63\t63\n")
    rows = []
    for split in ("val", "test"):
        (folder / split / "images").mkdir(parents=True)
        for path in sorted((folders / "val").rglob("*.JPEG"), reverse=True):
            shutil.copy(path, folder / split / "images")
            rows.append(f"{path.name}\t{path.parent.name}\t0\t0\t63\t63\n")
    (folder / "val/val_annotations.txt").write_text("".join(rows[: len(rows) // 2]))
    ids = sorted(path.name for path in (folders / "train").iterdir())
    (folder / "wnids.txt").write_text("".join(f"{class_id}\n" for class_id in reversed(ids)))
    (folder / "words.txt").write_text("".join(f"{class_id}\tname of {class_id}\n" for class_id in ids))
    return folder


def test_tiny_imagenet_is_read_as_it_is_downloaded(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    folders = draw_source()
    source = open_source(tiny_imagenet(folders, tmp_path / "tiny"))
    assert [split.fingerprint() for split in source.splits] == [
        one.fingerprint() for one in open_source(folders).splits
    ]
    assert [entry.name for entry in source.splits[1].classes] == [f"name of n0000000{i}" for i in range(3)]
    assert any("test/images: images without labels" in note for note in source.notes)
    assert "non-image files beside images: 3, e.g. " in source.passed_over[0]


def test_annotations_of_tiny_imagenet_that_do_not_fit_are_refused(
    tmp_path: Path, draw_source: Callable[..., Path]
) -> None:
    folder = tiny_imagenet(draw_source(), tmp_path / "tiny")
    path = folder / "val/val_annotations.txt"
    path.write_text("no tabs\n" + path.read_text())
    with pytest.raises(InputError, match=r"val_annotations.txt, line 1: 'no tabs'; expected a name, a tab"):
        open_source(folder)


def imagenet100(folders: Path, folder: Path) -> Path:
    """The second class in one part, the others in another."""
    for path in sorted((folders / "train").rglob("*.JPEG")):
        inner = folder / f"train.X{2 if path.parent.name == 'n00000001' else 1}" / path.parent.name
        inner.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, inner)
    shutil.copytree(folders / "val", folder / "val.X")
    return folder


def test_imagenet_100_is_read_as_kaggle_packs_it(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    """Its four training folders, and the validation folder, were once taken for folders of classes."""
    folders = draw_source()
    folder = imagenet100(folders, tmp_path / "in100")
    (folder / "Labels.json").write_text(json.dumps({f"n0000000{i}": f"name of {i}" for i in range(3)}))
    source = open_source(folder)
    assert fingerprints(source) == fingerprints(open_source(folders)) and source.passed_over == ()
    assert [entry.name for entry in source.splits[0].classes] == ["name of 0", "name of 1", "name of 2"]
    with zipfile.ZipFile(tmp_path / "in100.zip", "w") as archive:
        for path in sorted(folder.rglob("*.JPEG")):
            archive.write(path, path.relative_to(folder))
    zipped = open_source(tmp_path / "in100.zip")
    assert [len(split.images) for split in zipped.splits] == [len(split.images) for split in source.splits]
    shutil.rmtree(folder / "val.X")  # not downloaded, say
    train, val = open_source(folder, SourceOptions(val_fraction=0.2)).splits
    assert len(train.images) + len(val.images) == len(source.splits[0].images)
    assert train.classes == val.classes == source.splits[0].classes


@pytest.mark.parametrize("content", ["[]", '{"n00000000": 0}', "{", "\xff", "[" * 200_000])
def test_a_labels_json_of_something_else_is_passed_over(
    tmp_path: Path, draw_source: Callable[..., Path], content: str
) -> None:
    folder = imagenet100(draw_source(), tmp_path / "in100")
    (folder / "Labels.json").write_text(content, "latin-1")
    source = open_source(folder)
    assert [entry.name for entry in source.splits[0].classes] == [f"n0000000{i}" for i in range(3)]
    assert "Labels.json" in source.passed_over[0]


def test_labels_json_is_read_with_a_byte_order_mark_and_reported_if_it_names_none_of_the_classes(
    tmp_path: Path, draw_source: Callable[..., Path]
) -> None:
    folder = imagenet100(draw_source(), tmp_path / "in100")
    (folder / "Labels.json").write_text('{"n00000000": "tench"}', "utf-8-sig")
    assert [entry.name for entry in open_source(folder).splits[0].classes] == ["tench", "n00000001", "n00000002"]
    (folder / "Labels.json").write_text('{"n9": "\\ud800"}')
    source = open_source(folder)
    assert "Labels.json" in source.passed_over[0] and source.splits[0].classes[0].name == "n00000000"


def test_class_names_that_no_manifest_can_hold_are_refused(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    """They were once written to a manifest that could not be read."""
    folder = imagenet100(draw_source(), tmp_path / "in100")
    (folder / "Labels.json").write_text('{"n00000001": "\\ud800"}')
    with pytest.raises(
        InputError, match=r"in100/Labels.json: the class name '\\ud800' is not valid Unicode; correct it"
    ):
        open_source(folder)
    (folder / "Labels.json").unlink()
    (folder / "train.X1/n00000000").rename(os.fsdecode(os.fsencode(folder) + b"/train.X1/caf\xe9"))
    with pytest.raises(InputError, match=r"the class name 'caf\\udce9' is not valid Unicode; correct it"):
        open_source(folder)


def img2dataset(folders: Path, folder: Path, row: dict[str, object]) -> Path:
    for number, path in enumerate(sorted((folders / "train").rglob("*.JPEG"))):
        shard = folder / f"{number // 8:05d}"
        shard.mkdir(parents=True, exist_ok=True)
        (folder / f"{shard.name}_stats.json").write_text("{}")
        (folder / f"{shard.name}.parquet").write_bytes(b"what happened")
        shutil.copy(path, shard / f"{number:09d}.jpg")
        about = {"url": "x", "caption": f"image {number}", **{key: path.parent.name for key in row}}
        (shard / f"{number:09d}.json").write_text(json.dumps(about))
        (shard / f"{number:09d}.txt").write_text(f"image {number}")
    return folder


def test_files_of_img2dataset_are_labeled_by_their_json(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    folders = draw_source(splits=("train",))
    folder = img2dataset(folders, tmp_path / "set", {"class_name": 1, "group": 1})
    for options in (SourceOptions(), SourceOptions(label_key="group")):
        source = open_source(folder, options)
        (split,) = source.splits
        assert split.images_per_class() == {"n00000000": 5, "n00000001": 5, "n00000002": 5}
        assert source.passed_over[0].startswith("non-image files beside images: 15, e.g. ")
    source = open_source(folder, SourceOptions(keep=("txt", "caption")))
    assert [line.partition(":")[0] for line in source.passed_over] == ["tables of img2dataset"]  # .json read, .txt kept
    (split,) = source.splits
    kept = {extra.ext: extra.read() for extra in split.images[0].extras}
    assert kept == {"caption.txt": b"image 0", "txt": b"image 0"}


def test_a_zip_file_without_its_beginning_is_refused_when_it_is_listed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("cat/1.jpg", b"image")
    (tmp_path / "set.zip").write_bytes((tmp_path / "set.zip").read_bytes()[7:])
    with pytest.raises(InputError, match=r"set\.zip: not a complete zip file \(its beginning is missing\)"):
        open_source(tmp_path / "set.zip")


def test_files_of_img2dataset_without_labels_are_no_classes(tmp_path: Path, draw_source: Callable[..., Path]) -> None:
    folder = img2dataset(draw_source(splits=("train",)), tmp_path / "set", {})
    with pytest.raises(
        InputError, match=r"000000000.jpg: its .json has no label among caption, url; name the key with"
    ):
        open_source(folder)
    (split,) = open_source(folder, SourceOptions(unlabeled=True)).splits
    assert split.images_per_class() == {"unlabeled": 15}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("wrapper", ["", "photos/"])
def test_a_zip_of_class_folders_is_read_in_place(
    tmp_path: Path,
    draw_source: Callable[..., Path],
    give_the_same_shards: Callable[[Path, Path], None],
    method: int,
    wrapper: str,
) -> None:
    folders = draw_source()
    (tmp_path / "zip").mkdir()
    with zipfile.ZipFile(tmp_path / "zip/set.zip", "w", method) as archive:
        for path in sorted(folders.rglob("*.JPEG"), reverse=True):
            archive.write(path, f"{wrapper}{path.relative_to(folders)}")
            archive.writestr(f"__MACOSX/{wrapper}{path.parent.relative_to(folders)}/._{path.name}", b"x")
    source = open_source(tmp_path / "zip/set.zip")
    assert [split.fingerprint() for split in source.splits] == [
        one.fingerprint() for one in open_source(folders).splits
    ]
    assert source.passed_over[0].startswith("hidden and system files: 30, e.g. ")
    if method == zipfile.ZIP_DEFLATED and not wrapper:
        before = (tmp_path / "zip/set.zip").read_bytes()
        give_the_same_shards(folders, tmp_path / "zip/set.zip")
        assert (tmp_path / "zip/set.zip").read_bytes() == before


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_a_zip_is_a_bad_input(
    tmp_path: Path, draw_source: Callable[..., Path], method: int
) -> None:
    folders, path = draw_source(splits=()), tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in sorted(folders.rglob("*.JPEG")):
            archive.write(file, str(file.relative_to(folders)))
    image = open_source(path).splits[0].images[2]
    content = bytearray(path.read_bytes())
    content[image.offset + 200] ^= 4  # type: ignore[attr-defined]
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged in its zip file"):
        open_source(path).splits[0].images[2].read()
    path.write_bytes(content[:2000])
    with pytest.raises(InputError, match=r"set\.zip: not a complete zip file"):
        open_source(path)


def test_a_zip_that_is_packed_otherwise_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("cat/1.jpg", b"x")
    with pytest.raises(InputError, match=r"'cat/1.jpg' is encrypted or not compressed by deflate; unpack"):
        open_source(tmp_path / "set.zip")


def test_a_zip_file_gives_what_it_unpacks_to(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("cat/1.jpg", b"first")
        link = zipfile.ZipInfo("cat/2.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "1.jpg")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("cat/1.jpg", b"last")
    source = open_source(tmp_path / "x.zip")
    assert [(image.name, image.read()) for image in source.splits[0].images] == [("cat/1.jpg", b"last")]
    assert source.passed_over == (
        f"members of zip files replaced by a later one of the same name: {tmp_path}/x.zip/cat/1.jpg",
        f"symbolic links in zip files: {tmp_path}/x.zip/cat/2.jpg",
    )


class NameAsBytes(zipfile.ZipInfo):
    """A member whose name is written in these bytes, without the flag that it is UTF-8, as made on this system."""

    def __init__(self, name: bytes, system: int) -> None:
        super().__init__(repr(name))
        self.create_system, self.name = system, name

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.name, self.flag_bits & ~0x800


@pytest.mark.parametrize(
    ("system", "encoded"),
    [
        (3, ["a/Bäume/ 1.jpg".encode(), "a/Straßen/2.jpg".encode()]),  # the Finder of macOS
        (3, [unicodedata.normalize("NFD", "a/Bäume/ 1.jpg").encode(), "a/Straßen/2.jpg".encode()]),
        (0, ["a/Bäume/ 1.jpg".encode("cp437"), "a/Straßen/2.jpg".encode("cp850")]),  # the Explorer of Windows
        (0, ["a\\Bäume\\ 1.jpg".encode("cp437"), "a\\Straßen\\2.jpg".encode("cp437")]),  # old .NET, PowerShell 5
        (0, [b"a\\B\x84ume\\ 1.jpg", b"a\\Stra\xe1en\\2.jpg", b"a\\Stra\xe1en\\an empty folder\\"]),
    ],
)
def test_names_in_zip_files_are_those_that_were_packed(tmp_path: Path, system: int, encoded: list[bytes]) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in encoded:
            archive.writestr(NameAsBytes(name, system), b"")
    (split,) = open_source(tmp_path / "x.zip").splits
    assert split.images_per_class() == {"Bäume": 1, "Straßen": 1}
