"""URLs of object stores: `s3://`, `gs://`, `az://`, `http://`, `https://` and `hf://datasets/OWNER/NAME`.

A URL may contain a user name and password (`https://name:password@host/…`). They are kept apart from the text, so
that printing, logging or recording a URL never reveals them.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import quote, unquote, urlsplit

from ...errors import InputError

Scheme: TypeAlias = Literal["s3", "gs", "az", "http", "https", "hf"]
SCHEMES: tuple[Scheme, ...] = ("s3", "gs", "az", "http", "https", "hf")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# Decoded, %2F would separate folders; S3 takes an unescaped + for a space.
_CHANGED_BY_DECODING = re.compile("%2[FB]|//", re.IGNORECASE)


# Most bytes that a store takes in one request.
_MAX_PUT_BYTES = {"s3": 5 * 2**30, "az": 5000 * 2**20}


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A prefix, or one object, in a store. `url / "train"` and `url.name` work as for a `Path`.

    Prints without user name, password and query.
    """

    scheme: Scheme
    """The kind of store."""

    host: str
    """Bucket of S3 and GCS, container of Azure, host and port of HTTP(S), `datasets` of the Hugging Face hub."""

    path: str
    """The path below the host, without slashes at either end."""

    userinfo: str = field(default="", repr=False)
    """`name:password` of HTTP(S), decoded; never printed."""

    query: str = field(default="", repr=False)
    """Query of HTTP(S), as in a presigned URL; never printed. Only a single object can have one, not a prefix."""

    exact: str = field(default="", repr=False)
    """The path of HTTP(S) as written, if decoding and encoding it again would give another one; else empty."""

    @classmethod
    def parse(cls, text: str) -> "StoreUrl":
        """Parse a URL. Raises InputError, without repeating passwords, for any other text."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise InputError("a URL that cannot be parsed; expected SCHEME://HOST/PATH") from None
        scheme = next((scheme for scheme in SCHEMES if scheme == parts.scheme.lower()), None)
        shown = f"{parts.scheme}://{host}{parts.path}"
        if scheme is None:
            raise InputError(f"{shown}: expected a local folder or one of {', '.join(f'{one}://' for one in SCHEMES)}")
        userinfo = parts.netloc.rpartition("@")[0]
        web = scheme in ("http", "https")
        if (userinfo or parts.query or parts.fragment) and not web:
            raise InputError(
                f"{shown}: has a user name, query or fragment; pass credentials in the environment "
                "(see 'Credentials' in docs/scale.md)"
            )
        if parts.fragment:
            raise InputError(f"{shown}: has a fragment (#…); leave it out")
        # `hostname` is lower case; the name of a bucket stays as written.
        host = parts.netloc.rpartition("@")[2] if port is None or web else host
        if not host:
            raise InputError(f"{shown}: no bucket or host; expected {scheme}://HOST/PATH")
        path = parts.path.strip("/")
        meaningless = (".", "..") if web else (".", "..", "")
        if any(step in meaningless for step in path.split("/")) and path:
            raise InputError(f"{shown}: '.', '..' and '//' have no meaning in a store; write the path without them")
        if scheme == "hf" and (host != "datasets" or path.count("/") < 1):
            raise InputError(f"{shown}: expected hf://datasets/OWNER/NAME[@REVISION][/PATH]")
        if not web:
            return cls(scheme, host, path)
        return cls(scheme, host, unquote(path), unquote(userinfo), parts.query, _exact(parts.path))

    def __truediv__(self, name: str) -> "StoreUrl":
        if self.query:
            raise InputError(f"{self}: a URL with a query names one object, not a folder; leave out the '?…'")
        name = name.strip("/")
        path = "/".join(filter(None, (self.path, name)))
        exact = f"{self.exact.rstrip('/')}/{quote(name)}" if self.exact else ""
        return StoreUrl(self.scheme, self.host, path, self.userinfo, exact=exact)

    @property
    def name(self) -> str:
        """The last component of the path, or the host if the path is empty."""
        return self.path.rpartition("/")[2] or self.host

    @property
    def max_put_bytes(self) -> int:
        """Size of the largest object that the store takes in one request, in bytes."""
        return _MAX_PUT_BYTES.get(self.scheme, 2**62)

    @property
    def parent(self) -> "StoreUrl":
        """One level up; the root is its own parent."""
        exact = self.exact.rstrip("/").rpartition("/")[0]
        path = unquote(exact).strip("/") if self.exact else self.path.rpartition("/")[0]
        return StoreUrl(self.scheme, self.host, path, self.userinfo, exact=_exact(exact))

    @property
    def encoded(self) -> str:
        """Text that `parse` reads as this URL, without user name, password and query."""
        is_web = self.scheme in ("http", "https")
        path = self.exact.strip("/") or (quote(self.path, safe="/+") if is_web else self.path)
        return f"{self.scheme}://{self.host}" + (f"/{path}" if path else "")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + (f"/{self.path}" if self.path else "")


def _exact(path: str) -> str:
    return path if _CHANGED_BY_DECODING.search(path) or "\ufffd" in unquote(path) else ""


Location: TypeAlias = Path | StoreUrl
"""Where a source, a shard set or an output is: a local path or the URL of something in a store."""


def parse_location(text: str | Path | StoreUrl) -> Location:
    """Parse a local path or a URL. Raises InputError like `StoreUrl.parse`."""
    if isinstance(text, Path | StoreUrl):
        return text
    return StoreUrl.parse(text) if _URL.match(text) else Path(text)


def local_path(text: str | Path) -> Path:
    """The path. Raises InputError for a URL, which as a path would become a folder `s3:`."""
    location = parse_location(text)
    if isinstance(location, StoreUrl):
        raise InputError(f"{location}: is in a store; it must be on this machine: name a local path")
    return location
