"""Laws of folders in stores, on obstore's own store of local files: what is listed, and what listing keeps."""

import os
import shutil
import tracemalloc
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep import open_source
from alexkit.prep.sources import SourceOptions
from alexkit.prep.sources.folders.store_folder import StoreImage, open_store_folder
from alexkit.prep.sources.remarks import Remarks
from alexkit.prep.storage import StoreUrl, client

URL = StoreUrl("s3", "bucket", "set")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that lies at URL."""
    store = pytest.importorskip("obstore.store")
    folder = tmp_path / "store/set"
    folder.mkdir(parents=True)
    root, _ = client._split(URL)
    monkeypatch.setitem(client._clients, (os.getpid(), root, 0), store.LocalStore(folder.parent))
    return folder


def draw(store: Path, num_classes: int, num_images: int) -> list[str]:
    (store.parent / "one").write_bytes(b"12345")
    names = [f"train/n{number:08d}/n{number:08d}_{i}.JPEG" for number in range(num_classes) for i in range(num_images)]
    for name in names:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).hardlink_to(store.parent / "one")
    return names


def test_every_object_is_listed_where_it_lies(store: Path, tmp_path: Path) -> None:
    names = draw(store, 70, 3)
    for name in ("train/n00000001/._x.JPEG", "train/ä #1?/b.png", "names.txt"):
        (store / name).parent.mkdir(exist_ok=True)
        (store / name).write_bytes(b"12345")
    (tmp_path / "copies").mkdir()
    root = open_store_folder(URL, tmp_path / "copies", remarks := Remarks())
    train = root.child("train")
    assert root.folders == ("train",) and [file.name for file in root.files] == ["names.txt"]
    assert len(train.folders) == 71 and not train.files
    found = [file.image(file.name) for name in train.folders for file in train.child(name).files]
    assert all(isinstance(image, StoreImage) and image.num_bytes == 5 and image.e_tag for image in found)
    assert [image.container for image in found] == sorted(
        [f"s3://bucket/set/{name}" for name in (*names, "train/ä #1?/b.png")]
    )
    assert [image.read() for image in found[-2:]] == [b"12345"] * 2
    assert remarks.passed_over["hidden and system files"].count == 1
    assert (tmp_path / "copies/names.txt").read_bytes() == b"12345"


@pytest.mark.parametrize("marks", [("train/manifest.json", "val/manifest.json"), (".unfinished/plan.json",), ()])
def test_outputs_below_a_source_are_left_out(store: Path, tmp_path: Path, marks: tuple[str, ...]) -> None:
    draw(store, 2, 1)
    for name in ("README.md", "train/train-00000.tar", "train/a.jpg", "train/statistics.npz", *marks):
        (store / "train/out" / name).parent.mkdir(parents=True, exist_ok=True)
        (store / "train/out" / name).write_bytes(b"12345")
    out = URL / "train/out"
    found = open_source(URL, out=None if marks else out)
    assert len(found.splits[0].images) == 2 and len(found.splits[0].classes) == 2
    assert f"folders of shard sets: {out}" in found.passed_over
    (tmp_path / "copies").mkdir()
    open_store_folder(URL, tmp_path / "copies", Remarks(), out=out)
    assert not (tmp_path / "copies/train/out").exists()


@pytest.mark.parametrize("name", ["train/metadata.csv", "train.csv"])
def test_lists_in_a_store_name_images_beside_them(store: Path, name: str) -> None:
    for image in ("a/1.jpg", "b/2.jpg", "1.jpg", "2.jpg", "other.jpg"):
        (store / "train" / image).parent.mkdir(parents=True, exist_ok=True)
        (store / "train" / image).write_bytes(b"12345")
    images = ("1.jpg", "2.jpg")
    if name == "train.csv":
        (store / "train").rename(store / "images")
        images = ("images/a/1.jpg", "images/x/../b/2.jpg")
    else:
        shutil.rmtree(store / "train/a")
        shutil.rmtree(store / "train/b")
    (store / name).write_text(f"file_name,label\n{images[0]},cat\n{images[1]},dog\n")
    found = open_source(URL)
    assert [(image.name, image.read()) for image in found.splits[0].images] == [
        ("cat/1.jpg", b"12345"),
        ("dog/2.jpg", b"12345"),
    ]
    if name == "train/metadata.csv":
        assert found.passed_over == (f"images that metadata.csv does not list: {URL}/train/other.jpg",)
    (store / name).write_text("file_name,label\n../../x.jpg,cat\n")
    with pytest.raises(InputError, match=rf"^{URL}/{name}, line 2: \.\./\.\./x.jpg leads out of {URL}"):
        open_source(URL)


def test_a_list_in_a_store_finds_its_images_as_on_disk(store: Path, tmp_path: Path) -> None:
    for image in ("images/1.jpg", "images/2.png", "other/3.jpg"):
        (store / image).parent.mkdir(parents=True, exist_ok=True)
        (store / image).write_bytes(image.encode())
    (store / "train.csv").write_text("id,label\n1,cat\n2,dog\n")
    (tmp_path / "l.csv").write_text("id,label\n1,cat\n2,dog\n")
    options = SourceOptions(image_column="id")
    here = SourceOptions(image_column="id", image_root=f"{URL}/images")
    for source in (open_source(URL, options), open_source(tmp_path / "l.csv", here)):
        assert [image.read() for image in source.splits[0].images] == [b"images/1.jpg", b"images/2.png"]
        images = f"its images are in {URL}/images, and .jpg or .png is appended to paths without an extension"
        assert any(images in note for note in source.notes)
    (store / "train.csv").write_text("id,label\n8.jpg,cat\n9,dog\n")
    with pytest.raises(InputError, match=rf"line 2: {URL}/8.jpg: .*; correct the paths, or pass .* --image-root"):
        open_source(URL, options)


@pytest.mark.parametrize("labels", ["solution", "xml"])
def test_kaggles_download_in_a_store_is_that_on_a_disk(store: Path, labels: str) -> None:
    data, annotations = store / "ILSVRC/Data/CLS-LOC", store / "ILSVRC/Annotations/CLS-LOC/val"
    names = ("train/n00000000/a.JPEG", "train/n00000001/b.JPEG", "val/v1.JPEG", "val/v2.JPEG", "test/t.JPEG")
    for path in map(data.joinpath, names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    if labels == "xml":
        annotations.mkdir(parents=True)
        for i in range(2):
            (annotations / f"v{i + 1}.xml").write_text(f"<object><name>n0000000{i}</name></object>")
    else:
        rows = "ImageId,PredictionString\nv1,n00000000 1 2 3 4\nv2,n00000001 1 2 3 4\n"
        (store / "LOC_val_solution.csv").write_text(rows)
        (store / "LOC_synset_mapping.txt").write_text("n00000000 tench\nn00000001 goldfish\n")
    near, far = open_source(store), open_source(URL)
    assert [split.fingerprint() for split in far.splits] == [split.fingerprint() for split in near.splits]
    assert [split.name for split in far.splits] == ["train", "val"] and far.splits[0].classes == near.splits[0].classes
    assert [note.replace(str(URL), "") for note in far.notes] == [note.replace(str(store), "") for note in near.notes]
    assert all(isinstance(image, StoreImage) for split in far.splits for image in split.images)


def test_errors_and_remarks_name_urls_and_no_copies(store: Path) -> None:
    draw(store, 1, 1)
    (store / "train/notes.txt").write_bytes(b"12345")
    (store / "other.txt").write_bytes(b"12345")
    found = open_source(URL)
    assert set(found.passed_over) == {
        f"files that belong to no split: {URL}/other.txt",
        f"non-image files beside images: {URL}/train/notes.txt",
    }
    (store / "train/empty").mkdir()
    (store / "train/empty/notes.txt").write_bytes(b"12345")
    with pytest.raises(InputError, match=rf"^{URL}/train/empty: class without images"):
        open_source(URL)


def test_listing_a_store_takes_little_more_memory_than_what_is_kept(store: Path) -> None:
    draw(store, 400, 25)
    tracemalloc.start()
    images = open_source(URL).splits[0].images
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(images) == 10_000
    assert peak < 4_500_000  # as objects 6,600,000
