"""URLs of web servers are requested as they are written, query included, by whatever means the server answers."""

import pytest

pytest.importorskip("obstore")

from alexkit.errors import InputError
from alexkit.prep.storage import ObjectStore, RefusedError, StoreUrl, client

from .conftest import Server


@pytest.mark.parametrize(
    ("written", "requested"),
    [
        ("/a b.jpg", "/a%20b.jpg"),
        ("/a%20b.jpg", "/a%20b.jpg"),
        ("/a+b.jpg", "/a+b.jpg"),
        ("/a%2Bb.jpg", "/a%2Bb.jpg"),
        ("/o/images%2fcat.jpg?alt=media&token=a%2Bb", "/o/images%2fcat.jpg?alt=media&token=a%2Bb"),
        ("/image?id=3", "/image?id=3"),
        ("/a%25b%3F.jpg", "/a%25b%3F.jpg"),
        ("/%E9.jpg", "/%E9.jpg"),
        ("/ü.jpg", "/%C3%BC.jpg"),
        ("/a//b.jpg", "/a//b.jpg"),
    ],
)
def test_a_url_is_requested_as_it_is_written(server: Server, written: str, requested: str) -> None:
    assert ObjectStore(StoreUrl.parse(server.url + written)).read() == b"ok"
    assert server.asked == [requested]


def test_names_are_added_to_a_path_that_is_kept_as_written(server: Server) -> None:
    url = StoreUrl.parse(f"{server.url}/a%2Bb/sets/") / "train"
    assert ObjectStore(url).read("x y.tar") == b"ok"
    assert url.parent == StoreUrl.parse(f"{server.url}/a%2Bb/sets") and url.parent.parent.parent.exact == ""


@pytest.mark.parametrize(
    "text",
    ["https://host/a%2Bb/x y", "https://host/a+b", "https://host/100%25/%2541", "s3://bucket/a+b %20", "gs://b"],
)
def test_a_url_is_restored_from_its_encoded_text(text: str) -> None:
    assert StoreUrl.parse(StoreUrl.parse(text).encoded).path == StoreUrl.parse(text).path
    assert StoreUrl.parse(StoreUrl.parse(text).encoded).exact.strip("/") == StoreUrl.parse(text).exact.strip("/")


def test_any_number_of_queries_takes_few_clients(server: Server) -> None:
    for i in range(client.MAX_CLIENTS + 9):
        assert ObjectStore(StoreUrl.parse(f"{server.url}/image?id={i}")).read() == b"ok"
    assert len(client._clients) == client.MAX_CLIENTS and len(set(server.asked)) == len(server.asked)


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_server_that_does_not_answer_head_is_asked_by_get(server: Server, status: int) -> None:
    server.answer = lambda method, path: (status, b"") if method == "HEAD" else (200, b"ok")
    assert ObjectStore(StoreUrl.parse(f"{server.url}/1.jpg?signature=x")).stat()[1:] == (2, '"1"')
    assert server.asked == ["/1.jpg?signature=x"] * 2


def test_what_get_is_refused_too_is_refused(server: Server) -> None:
    server.answer = lambda method, path: (403, b"")
    with pytest.raises(RefusedError):
        ObjectStore(StoreUrl.parse(f"{server.url}/1.jpg")).stat()


def test_a_weak_version_is_not_asked_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "e_tag", 'W/"1"')
    store = ObjectStore(StoreUrl.parse(f"{server.url}/1.jpg"))
    assert store.stat().e_tag is None  # servers answer If-Match with 412


@pytest.mark.parametrize("scheme", ["s3://bucket", "https://host"])
def test_steps_up_have_no_meaning_in_a_store(scheme: str) -> None:
    with pytest.raises(InputError, match="no meaning in a store"):
        StoreUrl.parse(f"{scheme}/a/../b.jpg")
