"""What consoles and other tools leave in a bucket: empty objects that represent folders, and unusable names."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import numpy as np
import pytest

pytest.importorskip("obstore")

from alexkit.errors import InputError
from alexkit.prep.build.stores.shared_run import SharedRun
from alexkit.prep.sources import SourceOptions, open_source
from alexkit.prep.sources.columns.gathered import Gathered
from alexkit.prep.sources.columns.listed import ListedImages, ListedSlice, StoredListing
from alexkit.prep.sources.folders.store_folder import StoreImage
from alexkit.prep.storage import ObjectStore, StoreUrl
from alexkit.prep.storage.by_offset import shown

from .conftest import Answer, Server

IMAGES = [f"photos/{split}/{name}/{i}.jpg" for split in ("train", "val") for name in "ab" for i in range(2)]


def bucket_of(keys: Sequence[str]) -> Answer:
    """Lists these keys: objects of two bytes and, where keys begin like others, empty markers of folders."""

    markers = {key.rpartition("/")[0] for key in keys}

    def answer(method: str, path: str) -> tuple[int, bytes]:
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        if "prefix" not in query:
            return (200, b"ok") if unquote(path).removeprefix("/bucket/") in keys else (404, b"")
        prefix, objects, folders = query["prefix"], [], set()
        for key in sorted(key for key in keys if key.startswith(prefix)):
            name, slash, _ = key[len(prefix) :].partition("/")
            if slash and "delimiter" in query:
                folders.add(f"{prefix}{name}/")
            else:
                objects.append(key)
        rows = [
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>1</ETag><Size>{0 if key.endswith('/') or key in markers else 2}</Size></Contents>"
            for key in objects
        ]
        rows += [f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders)]
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>"
        return 200, text.encode()

    return answer


@pytest.mark.parametrize(
    "markers",
    [
        ["photos/"],
        ["photos/train/"],
        ["photos/", "photos/train/", "photos/train/a/", "photos/val/"],
        ["photos/train/a"],  # as Hadoop writes it for Azure
    ],
)
def test_markers_of_folders_are_no_files(server: Server, markers: list[str]) -> None:
    server.answer = bucket_of([*markers, *IMAGES])
    source = open_source(StoreUrl.parse("s3://bucket/photos"))
    assert [(split.name, len(split.images)) for split in source.splits] == [("train", 4), ("val", 4)]
    assert not source.notes and not source.passed_over
    store = ObjectStore(StoreUrl.parse("s3://bucket"))
    assert [one.name for one in store.list_all("photos")] == sorted(IMAGES)
    assert store.list_folder("photos/train") == (["a", "b"], [])


def test_folders_beside_the_classes_may_have_markers(server: Server) -> None:
    server.answer = bucket_of(["photos/notes/", "photos/notes/x.csv", *IMAGES])
    assert len(open_source(StoreUrl.parse("s3://bucket/photos")).splits) == 2


def test_an_empty_class_folder_is_refused_as_on_a_disk(server: Server) -> None:
    server.answer = bucket_of(["photos/train/c/", *IMAGES])
    with pytest.raises(InputError, match="s3://bucket/photos/train/c: class without images"):
        open_source(StoreUrl.parse("s3://bucket/photos"))


def test_a_prefix_with_nothing_but_its_marker_is_empty(server: Server) -> None:
    server.answer = bucket_of(["photos/", "photos/train/"])
    with pytest.raises(InputError, match="s3://bucket/photos: nothing there"):
        open_source(StoreUrl.parse("s3://bucket/photos"))


def test_one_object_is_no_folder(server: Server) -> None:
    server.answer = bucket_of(["lists/train.csv"])
    with pytest.raises(InputError, match=r"s3://bucket/lists/train\.csv: one object; pass the folder that holds it"):
        open_source(StoreUrl.parse("s3://bucket/lists/train.csv"))


@pytest.mark.parametrize("name", ["a//1.jpg", "a/./1.jpg", "a/../1.jpg", "a/x\n.jpg"])
def test_a_name_that_cannot_be_read_is_named_at_once(server: Server, name: str) -> None:
    server.answer = bucket_of([f"photos/train/{name}", *IMAGES])
    store = ObjectStore(StoreUrl.parse("s3://bucket/photos/train"))
    with pytest.raises(InputError, match=r"the client cannot read the name 'photos/train/a/.*rename the object"):
        store.list_all("a")
    assert len(server.asked) == 1


def test_images_and_extras_of_any_name_stay_in_the_bucket_and_only_lists_are_copied(server: Server) -> None:
    names = ("a/0.jpg", "a/1", "a/1.txt", "b/2.photo", "b/2.txt", "b/3.jpg", "b/3.mask.png", "b/3.npy", "b/3.txt")
    unread = ("model.zip", "archive.tar", "video.mp4")
    server.answer = bucket_of([*(f"photos/train/{name}" for name in names), *(f"photos/{name}" for name in unread)])
    source = open_source(StoreUrl.parse("s3://bucket/photos"), SourceOptions(keep=("txt", "npy", "mask.png")))
    images = {image.name: image for image in source.splits[0].images}
    assert set(images) == {"a/0.jpg", "a/1", "b/2.photo", "b/3.jpg"}
    assert {image.container for image in images.values()} == {f"s3://bucket/photos/train/{name}" for name in images}
    assert [extra.ext for extra in images["b/3.jpg"].extras] == ["mask.png", "npy", "txt"]
    asked = [path for path in server.asked if "prefix=" not in path]
    assert sorted(asked) == [f"/bucket/photos/train/{name}" for name in names if name.endswith(".txt")]
    for image in images.values():
        assert [shown(extra.path) for extra in image.extras] == [
            f"s3://bucket/photos/train/{image.name.partition('.')[0]}.{extra.ext}" for extra in image.extras
        ]
        assert image.read() == b"ok" and all(extra.read() == b"ok" for extra in image.extras)


@pytest.mark.parametrize("status", [403, 501])
def test_a_run_whose_records_may_not_be_deleted_is_complete(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    records = [f"out/.unfinished/{name}" for name in ("plan.json", "train.inputs")]
    listed = bucket_of(records)
    server.answer = lambda method, path: listed(method, path) if method == "GET" else (status, b"")
    SharedRun(StoreUrl.parse("s3://bucket/out"), tmp_path).finish()
    assert "s3://bucket/out/.unfinished: cannot be removed" in caplog.text
    assert sorted(server.asked)[:2] == [f"/bucket/{name}" for name in records]  # each by a request of its own


def test_copies_that_a_killed_process_left_go_with_the_next_listing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (left := tmp_path / "alexkit-source-1").mkdir()
    (left / ".lock").touch()
    server.answer = bucket_of(IMAGES)
    sources = [open_source(StoreUrl.parse("s3://bucket/photos")) for _ in range(2)]
    assert len(sources) == 2 and not left.exists() and len(list(tmp_path.iterdir())) == 2


def test_a_machine_without_the_listing_of_its_run_copies_it_to_the_same_path(server: Server, tmp_path: Path) -> None:
    listed, path = tmp_path / "listed", tmp_path / "alexkit-out-1/.unfinished/train.inputs"
    columns = Gathered()
    for i in range(3):
        columns.add(StoreImage(f"{i}.jpg", 0, StoreUrl.parse(f"s3://bucket/{i}.jpg"), 2, None))
    images = columns.images()
    assert isinstance(images, ListedImages)
    with listed.open("wb") as file:
        images.write(file, {})
    content = listed.read_bytes()
    server.answer = lambda method, path: (200, content)
    url = StoreUrl.parse("s3://bucket/out/.unfinished/train.inputs")
    stored = StoredListing(url, len(content), hashlib.sha256(content).hexdigest())
    assert [image.name for image in ListedSlice(path, np.array([2, 0]), stored)] == ["2.jpg", "0.jpg"]
    assert path.read_bytes() == content  # below the folder that the run removes
