"""What a failing store is called: the status comes before the words, and credentials are no fault of an object."""

import errno
import json
import multiprocessing
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("obstore")

from alexkit.errors import InputError
from alexkit.prep.sources import SourceOptions
from alexkit.prep.storage import CredentialsError, ObjectStore, StoreUrl, UnreachableError, client, store
from alexkit.prep.storage.failures import in_our_words
from alexkit.prep.workers import Heartbeat
from alexkit.prep.workers.heartbeat import new_state

from .conftest import Server, xml


def read(url: str) -> bytes:
    return ObjectStore(StoreUrl.parse(url)).read("x.jpg")


@pytest.mark.parametrize(("status", "code"), [(403, "ExpiredToken"), (400, "ExpiredToken"), (401, "Unauthorized")])
def test_refused_credentials_are_the_fault_of_no_object(server: Server, status: int, code: str) -> None:
    server.answer = lambda method, path: (status, xml(code))
    for act in (lambda: read("s3://bucket/folder"), ObjectStore(StoreUrl.parse("s3://bucket/folder")).list_all):
        with pytest.raises(CredentialsError, match="access denied; check the credentials"):
            act()


def test_a_web_server_may_hide_one_of_its_files(server: Server) -> None:
    server.answer = lambda method, path: (403, b"")
    with pytest.raises(PermissionError, match="access denied") as caught:
        read(f"{server.url}/folder")
    assert not isinstance(caught.value, CredentialsError)


@pytest.mark.parametrize("url", ["s3://credential-bucket/169.254.169.254", "s3://b/non-2xx status code: 404"])
def test_a_status_is_heeded_before_words_of_a_url(server: Server, url: str) -> None:
    server.answer = lambda method, path: (503, b"")
    with pytest.raises(OSError, match="the server answered with status 503, in each of 5 attempts"):
        read(url)
    assert len(server.asked) == 5


def test_a_bucket_that_is_gone_is_not_an_object_that_is_missing(server: Server) -> None:
    server.answer = lambda method, path: (404, xml("NoSuchBucket"))
    with pytest.raises(OSError, match="its bucket or container does not exist") as caught:
        read("s3://bucket/folder")
    assert not isinstance(caught.value, FileNotFoundError)
    server.answer = lambda method, path: (404, xml("NoSuchKey"))
    with pytest.raises(FileNotFoundError, match="no such object"):
        read("s3://bucket/folder")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (301, xml("PermanentRedirect"), "its bucket is in another region; set AWS_REGION"),
        (400, xml("IllegalLocationConstraintException"), "its bucket is in another region; set AWS_REGION"),
        (
            400,
            b"<Error><Code>AuthorizationHeaderMalformed</Code><Message>x</Message><Region>eu-west-1</Region></Error>",
            "its bucket is in another region, eu-west-1; set AWS_REGION",
        ),
    ],
)
def test_a_bucket_in_another_region_is_called_so_at_once(server: Server, status: int, body: bytes, words: str) -> None:
    server.answer = lambda method, path: (status, body)
    for act in (lambda: read("s3://bucket/folder"), ObjectStore(StoreUrl.parse("s3://bucket/folder")).list_all):
        server.asked.clear()
        with pytest.raises(OSError, match=words):
            act()
        assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("inner", "words", "may_help"),
    [
        (
            "InvalidCertificate(\n    UnknownIssuer,\n)",
            r"certificate is not accepted \(UnknownIssuer\); SSL_CERT_FILE",
            False,
        ),
        (
            '"failed to lookup address information: Name or service not known"',
            "the name of the server was not found",
            True,
        ),
    ],
)
@pytest.mark.parametrize("url", ["s3://bucket/x.jpg", "https://host/x.jpg"])
def test_a_connection_that_cannot_be_made_has_its_reason(url: str, inner: str, words: str, may_help: bool) -> None:
    said = f"Generic error: Error performing GET https://host/x.jpg in 1ms, after 3 retries - HTTP error\n\n{inner}"
    failure = in_our_words(RuntimeError(said), StoreUrl.parse(url), "x.jpg", has_answered=False)
    assert re.search(words, str(failure.error)) and failure.temporary is may_help
    assert isinstance(failure.error, UnreachableError) == url.startswith("https")


@pytest.mark.parametrize(
    "value",
    [
        *("", "localhost:9000", "127.0.0.1:9000", "http://", "ftp://host", "http://[::1"),
        *("http://host:9000 ", "http://host:9000\n", "http://my host", "http://host:port", "http://host:90000"),
    ],
)
@pytest.mark.parametrize("url", ["s3://bucket", "az://box", "hf://datasets/me/photos"])
def test_an_endpoint_that_is_no_url_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch, url: str, value: str
) -> None:
    scheme = url.partition(":")[0]
    monkeypatch.setenv(client.ENDPOINT_VARIABLES[scheme], value)
    with pytest.raises(InputError, match=f"{client.ENDPOINT_VARIABLES[scheme]}: not a URL; set it to http://HOST"):
        ObjectStore(StoreUrl.parse(url))


def test_a_token_that_may_not_be_read_is_named(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (token := tmp_path / "token").touch()
    monkeypatch.setenv("HF_TOKEN_PATH", str(token))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PermissionError, match=f"Permission denied: '{token}'"):
        ObjectStore(StoreUrl.parse("hf://datasets/me/photos"))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("az://box/x", "az://box: cannot be opened; check AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"),
        ("https://ho st/x.jpg", "https://ho st: cannot be opened; check the name of the server"),
    ],
)
def test_what_the_client_does_not_open_is_named_without_its_words(
    server: Server, monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(InputError, match=words) as caught:
        ObjectStore(StoreUrl.parse(url))
    assert caught.value.__context__ is None


@pytest.fixture
def role(server: Server, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Credentials come of a metadata service; the statuses that it answers with, first to last, before it is well."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", server.url)
    statuses: list[int] = []
    key = {"AccessKeyId": "a", "SecretAccessKey": "b", "Token": "t", "Expiration": "2999-01-01T00:00:00Z"}

    def answer(method: str, path: str) -> tuple[int, bytes]:
        if not path.startswith("/latest/"):
            return 200, b"content"
        if statuses:
            return statuses.pop(0), b""
        return 200, json.dumps(key).encode() if path.endswith("/role") else b"role"

    server.answer = answer
    return statuses


def test_a_metadata_service_that_fails_for_a_while_costs_nothing(role: list[int]) -> None:
    role += [503, 500, 429]
    assert read("s3://bucket/folder") == b"content"


@pytest.mark.parametrize("status", [404, 403])
def test_a_machine_without_a_role_is_the_fault_of_no_object(role: list[int], status: int) -> None:
    role += [status] * 9
    with pytest.raises(CredentialsError, match=f"the provider of credentials answered with status {status}; set them"):
        read("s3://bucket/latest/api")


@pytest.mark.parametrize(
    ("status", "expected", "words", "num_asked"),
    [
        (404, FileNotFoundError, "no such object", 1),
        (401, CredentialsError, "access denied; check the credentials", 1),
        (429, OSError, "the server answered with status 429, in each of 5 attempts", 5),
        (503, OSError, "the server answered with status 503, in each of 5 attempts", 5),
    ],
)
def test_errors_of_the_hubs_listing_are_told_apart_and_repeated(
    server: Server, status: int, expected: type[OSError], words: str, num_asked: int
) -> None:
    server.answer = lambda method, path: (status, b"")
    with pytest.raises(expected, match=words) as caught:
        ObjectStore(StoreUrl.parse("hf://datasets/me/images/data")).list_all()
    assert caught.value.filename == "hf://datasets/me/images/data" and len(server.asked) == num_asked


def test_a_parquet_file_that_the_store_does_not_give_is_not_called_damaged(server: Server) -> None:
    pytest.importorskip("pyarrow")
    from alexkit.prep.sources.parquet.rows import FileJob, read_rows

    server.answer = lambda method, path: (403, xml("ExpiredToken"))
    job = FileJob(Path("x.parquet"), "s3://bucket/x.parquet\n1000 ", SourceOptions())
    with pytest.raises(CredentialsError, match="access denied"):
        read_rows(job, Heartbeat(new_state(multiprocessing.get_context("spawn"))), {})


def test_an_upload_may_take_as_long_as_a_slow_line_needs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "READ_TIMEOUT_S", 0.2)
    monkeypatch.setattr(client, "MIN_UPLOAD_BYTES_PER_S", 300_000)
    server.seconds_per_64k = 0.05
    folder = ObjectStore(StoreUrl.parse("s3://bucket/folder"))
    folder.create_once("manifest", bytes(700_000))
    content = bytes(1_000_000)
    server.answer = lambda method, path: (200, content if method == "GET" else b"")
    folder.put_whole("x.tar", content)
    assert len(server.asked) == 3  # one of them reads what was sent, since this server's mark is no MD5
    server.seconds_per_64k = 9.0
    monkeypatch.setattr(store, "ATTEMPTS", 1)
    monkeypatch.setattr(client, "MIN_UPLOAD_BYTES_PER_S", 3_000_000)
    monkeypatch.setattr(client, "_clients", {})
    with pytest.raises(OSError, match="stopped answering"):
        folder.put_whole("x.tar", content)


@pytest.mark.parametrize(
    "act",
    [
        lambda folder: folder.put_whole("x", b"1"),
        lambda folder: folder.create_once("x", b"1"),
        lambda folder: folder.read("x"),
        lambda folder: folder.list_all(),
    ],
)
def test_an_interrupt_is_heard_while_the_store_takes_long(server: Server, act: Callable[[ObjectStore], object]) -> None:
    asked, release, answered = threading.Event(), threading.Event(), threading.Event()

    def answer(method: str, path: str) -> tuple[int, bytes]:
        asked.set()
        release.wait(8)
        answered.set()
        return 200, b""

    def interrupt() -> None:
        asked.wait(8)
        signal.raise_signal(signal.SIGINT)

    server.answer = answer
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        act(ObjectStore(StoreUrl.parse("s3://bucket/folder")))
    assert not answered.is_set()
    release.set()
