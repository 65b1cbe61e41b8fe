"""An object that its store refuses is one bad input if other objects can be read; if none can, no input is to blame."""

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("obstore")

from alexkit.errors import InputError
from alexkit.prep.sources import open_source, reader
from alexkit.prep.sources.folders.store_folder import StoreImage
from alexkit.prep.sources.inputs import Extra, FileImage, SourceImage
from alexkit.prep.sources.lists import look_up
from alexkit.prep.sources.reader import Reader
from alexkit.prep.storage import CredentialsError, StoreUrl
from alexkit.prep.storage.by_offset import address_in_store

from .conftest import Answer, Server, xml

STORES = ("s3://bucket", "gs://bucket", "az://box", "WEB", "hf://datasets/me/photos")
REFUSED = "bad"  # in the name of a refused object


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "RETRY_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(reader, "SETTLED_SECONDS", (0.0,) * 7)


def images_of(root: str, names: Sequence[str]) -> list[SourceImage]:
    return [StoreImage(name, 0, StoreUrl.parse(f"{root}/{name}"), 2, '"1"') for name in names]


def refusing(status: int, body: bytes, *, after: int | None = None) -> Answer:
    """Refuses what is called so, and everything `after` some requests."""
    asked = 0

    def answer(method: str, path: str) -> tuple[int, bytes]:
        nonlocal asked
        asked += 1
        is_refused = REFUSED in path or (after is not None and asked > after)
        return (status, body) if is_refused else (200, b"ok")

    return answer


def outcomes(images: Sequence[SourceImage], elsewhere: Sequence[SourceImage] = (), *, size: int = 99) -> dict[str, str]:
    """What becomes of every image when jobs have `size` images: "ok", "bad" or "ends"."""
    found = {}
    for begin in range(0, len(images), size):
        job = images[begin : begin + size]
        one_reader = Reader(job, elsewhere)
        for image in job:
            try:
                found[image.name] = one_reader.read(image).decode()
            except InputError:
                found[image.name] = "bad"
            except OSError:
                found[image.name] = "ends"
    return found


@pytest.mark.parametrize("root", STORES)
@pytest.mark.parametrize(
    ("status", "code"), [(403, "AccessDenied"), (400, "KMS.DisabledException"), (410, ""), (404, "")]
)
def test_an_object_that_is_refused_alone_is_one_bad_input_in_jobs_of_any_size(
    server: Server, root: str, status: int, code: str
) -> None:
    images = images_of(root.replace("WEB", server.url), ["1", "bad1", "2", "bad2", "bad3", "3"])
    server.answer = refusing(status, xml(code) if code else b"")
    expected = {image.name: "bad" if REFUSED in image.name else "ok" for image in images}
    for size in (1, 2, 3, 99):
        assert outcomes(images, images, size=size) == expected


@pytest.mark.parametrize("root", STORES)
@pytest.mark.parametrize("status", [403, 400, 401])
def test_a_store_that_refuses_everything_is_the_fault_of_no_object(server: Server, root: str, status: int) -> None:
    images = images_of(root.replace("WEB", server.url), ["1", "2", "3"])
    server.answer = refusing(status, b"", after=0)
    for size in (1, 99):
        assert set(outcomes(images, images, size=size).values()) == {"ends"}


@pytest.mark.parametrize("root", STORES)
@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken"])
def test_whenever_credentials_expire_only_what_is_refused_anyway_is_bad(server: Server, root: str, code: str) -> None:
    images = images_of(root.replace("WEB", server.url), ["1", "bad1", "2", "bad2", "3"])
    seen = set()
    for after in range(14):
        server.answer = refusing(403, xml(code), after=after)
        for name, outcome in outcomes(images, images).items():
            assert outcome != "bad" or REFUSED in name, (after, name)
            seen.add(outcome)
    assert seen == ({"ok", "ends"} if code == "ExpiredToken" else {"ok", "ends", "bad"})


@pytest.mark.parametrize(
    ("root", "status", "code"),
    [
        ("s3://bucket", 403, "InvalidObjectState"),
        ("az://box", 409, "BlobArchived"),
        ("az://box", 409, "BlobBeingRehydrated"),
    ],
)
def test_an_archived_object_is_called_so(server: Server, root: str, status: int, code: str) -> None:
    (image,) = images_of(root, ["bad"])
    server.answer = refusing(status, xml(code))
    with pytest.raises(InputError, match=f"{root}/bad: archived by its store; restore it there before reading it"):
        Reader([image]).read(image)
    assert len(server.asked) == 1


def test_a_bucket_that_refuses_everything_is_not_excused_by_another_bucket(server: Server) -> None:
    images = [*images_of("s3://bad-bucket", ["1", "2"]), *images_of("s3://bucket", ["3", "4"])]
    server.answer = refusing(403, xml("AccessDenied"))
    assert outcomes(images, images) == {"1": "ends", "2": "ends", "3": "ok", "4": "ok"}


def test_a_web_server_with_one_image_may_refuse_it(server: Server) -> None:
    images = [*images_of(server.url.replace("127.0.0.1", "localhost"), ["bad"]), *images_of(server.url, ["1"])]
    server.answer = refusing(403, b"")
    assert outcomes(images, images) == {"bad": "bad", "1": "ok"}


def test_what_a_store_refuses_is_noted_when_a_list_is_read(server: Server, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\n" + "".join(f"s3://bucket/{name}.jpg,x\n" for name in ("1", "bad1", "2", "bad2")))
    server.answer = refusing(403, xml("AccessDenied"))
    source = open_source(listed)
    assert source.notes[0].startswith("2 of 4 listed images are missing, e.g.") and "access denied" in source.notes[0]
    assert outcomes(source.splits[0].images) == {
        "x/1.jpg": "ok",
        "x/2.jpg": "ok",
        "x/bad1.jpg": "bad",
        "x/bad2.jpg": "bad",
    }


@pytest.mark.parametrize("after", range(7))
def test_credentials_that_expire_while_a_list_is_read_make_no_image_missing(
    server: Server, tmp_path: Path, after: int
) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\n" + "".join(f"s3://bucket/{i}.jpg,x\n" for i in range(6)))
    server.answer = refusing(403, xml("ExpiredToken"), after=after)
    if after == 6:
        assert not any("missing" in note for note in open_source(listed).notes)
        return
    with pytest.raises(OSError, match="access denied") as caught:
        open_source(listed)
    assert not isinstance(caught.value, CredentialsError)  # an answer to HEAD has no body that says so


def write_list(folder: Path, urls: Sequence[str]) -> Path:
    path = folder / "list.csv"
    path.write_text("path,label\n" + "".join(f"{url},{i % 2}\n" for i, url in enumerate(urls)))
    return path


def port_without_server() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_dead_server_in_a_list_is_noted_and_its_links_are_bad(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    gone = f"http://127.0.0.1:{port_without_server()}"
    urls = [f"{server.url}/1.jpg", f"{gone}/2.jpg", f"{server.url}/3.jpg", f"{server.url}/bad4.jpg"]
    server.answer = refusing(500, b"")
    source = open_source(write_list(tmp_path, urls))
    assert source.notes[0].startswith("2 of 4 listed images are missing, e.g.") and gone in source.notes[0]
    images = source.splits[0].images
    for size in (1, 2, 99):
        found = outcomes(images, images, size=size)
        assert found == {"0/1.jpg": "ok", "0/3.jpg": "ok", "1/2.jpg": "bad", "1/bad4.jpg": "bad"}
    server.answer = refusing(500, b"", after=0)  # now this one is down too
    assert set(outcomes(images, images).values()) == {"ends"}


def test_a_server_that_answered_when_the_list_was_read_ends_the_run(server: Server, tmp_path: Path) -> None:
    images = open_source(write_list(tmp_path, [f"{server.url}/1.jpg", f"{server.url}/bad.jpg"])).splits[0].images
    server.answer = refusing(500, b"")
    assert outcomes(images, images) == {"0/1.jpg": "ok", "1/bad.jpg": "ends"}


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_ends_the_listing(server: Server, tmp_path: Path, status: int) -> None:
    server.answer = refusing(status, b"")
    with pytest.raises(OSError, match=f"the server answered with status {status}, in each of 5 attempts"):
        open_source(write_list(tmp_path, [f"{server.url}/1.jpg", f"{server.url}/bad.jpg"]))


@pytest.mark.parametrize("after", [0, 9])
def test_a_network_that_fails_while_a_list_is_read_ends_the_run_soon(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(look_up, "MAX_SILENT", 4)
    monkeypatch.setattr(look_up, "LIST_THREADS", 2)
    listed = write_list(tmp_path, [f"{server.url}/{i}.jpg" for i in range(60)])
    server.answer = refusing(500, b"", after=after)
    with pytest.raises(OSError, match="the server answered with status 500, in each of 5 attempts; try again later"):
        open_source(listed)
    assert len(server.asked) < 100


def test_many_dead_links_in_a_row_are_not_a_failing_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look_up, "MAX_SILENT", 4)
    names = ["1", *(f"bad{i}" for i in range(20)), "2"]
    server.answer = refusing(500, b"")
    source = open_source(write_list(tmp_path, [f"{server.url}/{name}.jpg" for name in names]))
    assert source.notes[0].startswith("20 of 22 listed images are missing")


def test_a_list_of_which_no_server_can_be_reached_is_a_failing_network(server: Server, tmp_path: Path) -> None:
    server.answer = refusing(500, b"")
    with pytest.raises(OSError, match="try again later"):
        open_source(write_list(tmp_path, [f"{server.url}/bad1.jpg", f"{server.url}/bad2.jpg"]))


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (403, "InvalidObjectState"), (404, "NoSuchKey")])
def test_a_tar_of_many_images_that_is_refused_ends_the_run(server: Server, status: int, code: str) -> None:
    members = [FileImage(f"{i}", 0, "s3://bucket/bad.tar\n10240 ", 10, 512 * i) for i in range(3)]
    images = [*members, *images_of("s3://bucket", ["a", "b"])]
    server.answer = refusing(status, xml(code))
    assert outcomes(images, images) == {"0": "ends", "1": "ends", "2": "ends", "a": "ok", "b": "ok"}


EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


def test_a_presigned_url_that_expires_before_others_is_no_bad_input(server: Server) -> None:
    images = images_of(server.url, ["1", "bad", "2"])
    server.answer = refusing(403, EXPIRED)
    assert outcomes(images, images) == {"1": "ok", "bad": "ends", "2": "ok"}
    with pytest.raises(
        OSError, match="the source fails: the URL has expired; sign the URLs again; when it works again"
    ):
        Reader(images).read(images[1])


def test_a_presigned_url_that_had_expired_when_it_was_listed_is_a_dead_link(server: Server, tmp_path: Path) -> None:
    server.answer = refusing(403, EXPIRED)
    source = open_source(write_list(tmp_path, [f"{server.url}/{name}.jpg?signature=x" for name in ("1", "bad", "2")]))
    assert "the URL has expired" in source.notes[0]
    assert outcomes(source.splits[0].images) == {"0/1.jpg": "ok", "1/bad.jpg": "bad", "0/2.jpg": "ok"}


def test_an_extra_that_is_refused_is_one_bad_input_and_a_tar_that_holds_extras_is_not(server: Server) -> None:
    images = images_of("s3://bucket", ["1", "2"])
    url = StoreUrl.parse("s3://bucket/bad.txt")
    server.answer = refusing(403, xml("AccessDenied"))
    with pytest.raises(InputError, match="cannot be read: access denied"):
        Reader(images).read(Extra("txt", b"", address_in_store(url, 2, None), 0, 2))
    with pytest.raises(OSError, match=r"the source fails: access denied.*'s3://bucket/bad\.txt'"):
        Reader(images).read(Extra("txt", b"", address_in_store(url, 9999, None), 512, 2))


def test_a_store_that_refuses_at_random_for_a_while_costs_nothing(server: Server) -> None:
    """As while new permissions spread over its servers: one of them refuses, and another gives the next object."""
    images = images_of("s3://bucket", ["1", "2"])
    server.answer = lambda method, path: (403, b"") if len(server.asked) in (1, 3, 5) else (200, b"ok")
    assert outcomes(images) == {"1": "ok", "2": "ok"}


def test_later_refusals_of_a_job_take_a_second_unless_permissions_change(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(reader, "RETRY_SECONDS", (2.0, 3.0))
    monkeypatch.setattr(reader, "SETTLED_SECONDS", (0.5, 0.5))
    names: list[str] = []  # that are refused

    def answer(method: str, path: str) -> tuple[int, bytes]:
        return (403, xml("AccessDenied")) if any(name in path for name in names) else (200, b"ok")

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        names[:] = [REFUSED]

    server.answer = answer
    monkeypatch.setattr("time.sleep", sleep)
    expected = {
        "1": [],
        "bad1": [2.0, 3.0],
        "bad2": [0.5, 0.5],
        "flaky": [0.5],
        "bad3": [2.0, 3.0],
        "bad4": [0.5, 0.5],
        "all": [2.0],
        "bad5": [2.0, 3.0],
    }
    images = images_of("s3://bucket", list(expected))
    one_reader = Reader(images)
    for image, (name, waits) in zip(images, expected.items(), strict=True):
        slept.clear()
        names[:] = [REFUSED, {"all": "bucket"}.get(name, "flaky")]
        if REFUSED in name:
            with pytest.raises(InputError):
                one_reader.read(image)
        else:
            assert one_reader.read(image) == b"ok"
        assert (image.name, slept) == (name, waits)
