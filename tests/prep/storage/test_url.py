"""URLs are read as they are written, and print without passwords."""

import pickle
from pathlib import Path

import pytest

from alexkit.errors import InputError
from alexkit.prep.storage import StoreUrl, parse_location


@pytest.mark.parametrize(
    ("text", "scheme", "host", "path"),
    [
        ("s3://Bucket/a/b", "s3", "Bucket", "a/b"),
        ("s3://bucket", "s3", "bucket", ""),
        ("gs://bucket/a/", "gs", "bucket", "a"),
        ("az://container/x", "az", "container", "x"),
        ("https://host:8080/x%20y", "https", "host:8080", "x y"),
        ("hf://datasets/owner/name@v1/data", "hf", "datasets", "owner/name@v1/data"),
    ],
)
def test_a_url_has_scheme_host_and_path(text: str, scheme: str, host: str, path: str) -> None:
    url = StoreUrl.parse(text)
    assert (url.scheme, url.host, url.path) == (scheme, host, path)
    assert parse_location(text) == url and pickle.loads(pickle.dumps(url)) == url


@pytest.mark.parametrize("text", ["photos", "/data/photos", "./a:b", "C:\\photos"])
def test_everything_else_is_a_local_path(text: str) -> None:
    assert parse_location(text) == Path(text)


def test_steps_down_and_up() -> None:
    url = StoreUrl.parse("s3://bucket/set")
    assert str(url / "train") == "s3://bucket/set/train" and (url / "train").name == "train"
    assert (url / "train").parent == url and url.parent.parent == StoreUrl.parse("s3://bucket")
    assert (StoreUrl.parse("s3://bucket") / "a").path == "a"


def test_password_and_query_are_kept_and_never_printed() -> None:
    url = StoreUrl.parse("https://me:secret%21@host/image.jpg?sig=hidden")
    assert url.userinfo == "me:secret!" and url.query == "sig=hidden"
    for shown in (str(url), repr(url), f"{url}"):
        assert "secret" not in shown and "hidden" not in shown
    assert StoreUrl.parse("https://me:secret@host/set") / "train" == StoreUrl.parse("https://me:secret@host/set/train")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ftp://host/x", "expected a local folder or one of s3://"),
        ("s3:///x", "no bucket or host"),
        ("s3://me:secret@bucket/x", "credentials in the environment"),
        ("s3://bucket/x?sig=secret", "credentials in the environment"),
        ("s3://bucket/../x", "no meaning in a store"),
        ("hf://models/a/b", "expected hf://datasets/OWNER/NAME"),
        ("https://host/x#secret", "fragment"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_repeating_secrets(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        StoreUrl.parse(text)
    assert "secret" not in str(caught.value)
