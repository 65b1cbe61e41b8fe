"""Copies in the cache of a remote set: damaged ones are fetched again once; single images read no manifest."""

import functools
import hashlib
import http.server
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

pytest.importorskip("obstore")

from alexkit.pipeline.remote import RemoteSet, StoredImages, local_face, open_set
from alexkit.prep import Manifest, ShardSet
from alexkit.prep.storage import StoreUrl, client

LIMIT_BYTES = 10**8


@pytest.fixture
def fetched() -> Counter[str]:
    """Number of GETs by path."""
    return Counter()


@pytest.fixture
def url(draw_shards: Callable[..., Path], fetched: Counter[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A shard set on a web server."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            return

        def do_GET(self) -> None:
            fetched[self.path] += 1
            super().do_GET()

    monkeypatch.setattr(client, "_clients", {})
    handler = functools.partial(Handler, directory=str(draw_shards()))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def opened(url: str, cache: Path) -> tuple[ShardSet, RemoteSet]:
    shard_set, remote = open_set(url, cache, LIMIT_BYTES)
    assert remote is not None
    return shard_set, remote


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def test_of_two_ranks_that_find_one_damage_one_fetches_again(
    url: str, fetched: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first rank hashes the damaged copy; before it discards it, the second one has replaced it."""
    (shard_set, first), (_, second) = opened(url, tmp_path), opened(url, tmp_path)
    entry = shard_set.manifest.shards[0]
    damage(first.fetch(0))
    digest_of, is_first = hashlib.file_digest, [True]

    def file_digest(file: BinaryIO, name: str) -> "hashlib._Hash":
        found = digest_of(file, name)
        if is_first and is_first.pop():
            second.fetch_sound(0)
        return found

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    path = first.fetch_sound(0)
    assert fetched[f"/{entry.name}"] == 2
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    first.close()
    second.close()


def test_single_images_of_a_remote_set_do_not_read_its_manifest_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard_set, remote = opened(url, tmp_path)
    remote.close()
    images = StoredImages(shard_set, cache_limit=LIMIT_BYTES)

    def read(folder: Path) -> Manifest:
        raise AssertionError("read again")

    monkeypatch.setattr(Manifest, "read", read)
    contents = [images.content(i) for i in range(len(images.index))]
    assert len(set(contents)) == len(contents)


@pytest.mark.parametrize("name", ["manifest.json", "index.bin", "statistics.npz", "remote.json"])
def test_small_files_that_the_disk_damaged_are_fetched_again(
    url: str, fetched: Counter[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    face = local_face(StoreUrl.parse(url), tmp_path)
    whole = (face / name).read_bytes()
    assert local_face(StoreUrl.parse(url), tmp_path) == face and fetched["/index.bin"] == 1 and not caplog.text
    for damaged in (bytes([whole[0] ^ 1]) + whole[1:], whole[:-1], b""):
        (face / name).write_bytes(damaged)
        assert local_face(StoreUrl.parse(url), tmp_path) == face
        assert (face / name).read_bytes() == whole
    (face / name).unlink()
    opened(url, tmp_path)[1].close()
    assert (face / name).read_bytes() == whole and "were damaged on the disk; they are fetched again" in caplog.text


def test_urls_that_differ_only_in_escapes_do_not_overwrite_each_others_small_files(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """S3 reads `+` as a space, other servers do not, so either may be the only one that works."""
    handler = http.server.SimpleHTTPRequestHandler
    translate = handler.translate_path
    monkeypatch.setattr(handler, "translate_path", lambda self, path: translate(self, path.rpartition("/")[2]))
    faces = [local_face(StoreUrl.parse(f"{url}/{name}"), tmp_path) for name in ("a+b", "a%2Bb", "a+b")]
    assert faces[0] == faces[2] != faces[1] and not caplog.text
