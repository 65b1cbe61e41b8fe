"""A store gives what was put, or an error in our words; never a wrong byte, never a secret."""

import hashlib
import io
import os
import threading
import traceback
from collections.abc import Callable

import pytest
from fault_proxy import FaultProxy
from servers import ACCESS_KEY, SECRET_KEY

from alexkit.prep.storage import ChangedError, ObjectStore, StoreUrl

pytestmark = pytest.mark.slow


def store_at(url: str) -> ObjectStore:
    return ObjectStore(StoreUrl.parse(url))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_is_put_is_read_listed_and_ranged(s3: str) -> None:
    store = store_at(s3)
    store.put_whole("a/one", b"0123456789")
    store.put_whole("two", b"")
    assert store.read("a/one") == b"0123456789" and store.read("two") == b""
    assert store.read("a/one", range=(2, 5)) == b"234"
    assert [(one.name, one.num_bytes) for one in store.list_all()] == [("a/one", 10), ("two", 0)]
    folders, files = store.list_folder()
    assert folders == ["a"] and [one.name for one in files] == ["two"]
    assert store.exists("two") and not store.exists("three")
    store.delete("two")
    assert not store.exists("two")


def test_an_object_that_changed_since_it_was_listed_is_refused(s3: str) -> None:
    store = store_at(s3)
    store.put_whole("one", b"old")
    e_tag = store.stat("one").e_tag
    assert store.read("one", if_match=e_tag) == b"old"
    store.put_whole("one", b"new")
    with pytest.raises(ChangedError, match="changed since it was listed"):
        store.read("one", if_match=e_tag)


def test_a_second_writer_is_refused_and_the_first_one_repeating_itself_is_not(s3: str) -> None:
    store = store_at(s3)
    store.create_once("manifest", b"mine")
    store.create_once("manifest", b"mine")
    with pytest.raises(FileExistsError, match="written by someone else"):
        store.create_once("manifest", b"yours")
    assert store.read("manifest") == b"mine"


def test_what_is_missing_is_a_missing_file(s3: str) -> None:
    with pytest.raises(FileNotFoundError, match="no such object") as caught:
        store_at(s3).read("nothing/here")
    assert str(caught.value.filename) == f"{s3}/nothing/here"


@pytest.mark.parametrize("seed", range(3))
def test_no_byte_is_wrong_through_a_network_that_fails_a_third_of_the_time(
    s3: str, through: Callable[..., FaultProxy], seed: int
) -> None:
    proxy = through(rate=0.3, seed=seed, kinds=("503", "429", "drop", "reset", "short", "flip"))
    store = store_at(s3)
    contents = {f"{i:02}": os.urandom(100_000 * (i % 3) + i) for i in range(40)}
    for name, content in contents.items():
        store.put_whole(name, content)
    for name, content in contents.items():
        file = io.BytesIO()
        store.download(name, file, num_bytes=len(content), sha256=sha256(content))
        assert file.getvalue() == content
    assert [one.name for one in store.list_all()] == sorted(contents)
    assert len(proxy.faults) == 6, proxy.faults  # each kind happened


def test_a_stalled_answer_is_noticed_and_asked_for_again(s3: str, through: Callable[..., FaultProxy]) -> None:
    store_at(s3).put_whole("one", b"1" * 1000)
    proxy = through(rate=1.0, kinds=("stall",))

    def once(url: str) -> bytes:
        return store_at(url).read("one")

    threading.Timer(2, lambda: setattr(proxy, "rate", 0.0)).start()
    assert once(s3) == b"1" * 1000
    assert proxy.faults["stall"] >= 1


def test_bits_flipped_on_every_try_end_in_an_error(s3: str, through: Callable[..., FaultProxy]) -> None:
    content = b"7" * 1000
    store_at(s3).put_whole("one", content)
    through(rate=1.0, kinds=("flip",))
    with pytest.raises(OSError, match="not what was expected in each of 5 attempts: its SHA-256 is not the one"):
        store_at(s3).download("one", io.BytesIO(), num_bytes=1000, sha256=sha256(content))


def _every_text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(error.__context__) + str(error.__cause__)


@pytest.mark.parametrize("case", ["bad signature", "unknown key", "404", "gone", "session token"])
def test_no_secret_is_in_any_error(s3: str, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    from alexkit.prep.storage import client

    secrets = [ACCESS_KEY, SECRET_KEY]
    if case == "bad signature":
        secrets.append("wrongSecret0123456789wrongSecret012345678")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secrets[-1])
    elif case == "unknown key":
        secrets.append("AKIDUNKNOWNUNKNOWN00")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", secrets[-1])
    elif case == "session token":
        secrets.append("sessionTokenNobodyMayPrint")
        monkeypatch.setenv("AWS_SESSION_TOKEN", secrets[-1])
    elif case == "gone":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("alexkit.prep.storage.store.FIRST_PAUSE_S", 0.01)
    client._clients.clear()
    caught = []
    for act in (ObjectStore.read, ObjectStore.list_all, lambda store: store.put_whole("x", b"1")):
        try:
            act(store_at(s3))
        except Exception as error:
            caught.append(_every_text_of(error))
    assert caught
    for text in caught:
        assert not any(secret in text for secret in secrets)
        assert "Signature" not in text and "X-Amz" not in text
