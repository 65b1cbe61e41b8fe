"""Objects under one URL: read, listed, written whole, created once; with checks and retries.

Calls with temporary failures are tried `ATTEMPTS` times with growing pauses. A client's own error text can contain
signed URLs and keys, so errors are reworded and never repeat it.
"""

import errno
import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

from ...errors import InputError
from .client import client_for, hub_endpoint, hub_headers, hub_root
from .failures import ATTEMPTS, Damaged, RefusedError, in_our_words
from .interruptible import interruptible
from .url import StoreUrl

FIRST_PAUSE_S = 0.2  # doubled after every attempt, times 0.5 to 1.5
# After 429 and 503. Their Retry-After is not available: the client neither obeys it nor passes headers on.
FIRST_BUSY_PAUSE_S = 2.0
CHUNK_BYTES = 2**20
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')

T = TypeVar("T")

_answered: set[tuple[str, str]] = set()  # scheme and host of the stores that have answered this process


class Writable(Protocol):
    """What a download needs of a file."""

    def seek(self, position: int, /) -> object:
        """Continue at this byte."""

    def write(self, content: bytes, /) -> object:
        """Write all of it."""


class Listed(NamedTuple):
    """One object: its name below the listed URL, its size, and its ETag if the store has one."""

    name: str
    num_bytes: int
    e_tag: str | None


class ObjectStore:
    """The objects under `url`. Names are relative to it, with slashes.

    All methods raise FileNotFoundError, CredentialsError or another OSError with the object's URL and what to do;
    none repeats the text of the server or the client library.
    """

    def __init__(self, url: StoreUrl) -> None:
        self.url = url
        self._client, self._prefix = client_for(url)

    def read(self, name: str = "", *, range: tuple[int, int] | None = None, if_match: str | None = None) -> bytes:
        """Read an object, or its bytes from `range[0]` up to `range[1]`.

        Raises ChangedError if its ETag is not `if_match`, OSError if fewer bytes arrive than were requested.
        """
        options: dict[str, Any] = {}
        if range is not None:
            if range[0] >= range[1]:
                return b""
            options["range"] = range
        if if_match is not None:
            options["if_match"] = if_match

        def once() -> bytes:
            result = self._client.get(self._full(name), options=options)
            content = bytes(result.bytes())
            expected = result.meta["size"] if range is None else range[1] - range[0]
            if len(content) != expected:
                raise Damaged(f"received {len(content)} bytes, expected {expected}")
            return content

        return self._repeat(once, name)

    def download(self, name: str, file: Writable, *, num_bytes: int, sha256: str) -> None:
        """Write an object to `file` from its start. Raises OSError if it does not arrive with this size and hash."""

        def once() -> None:
            file.seek(0)
            digest, found = hashlib.sha256(), 0
            for chunk in self._client.get(self._full(name)).stream(min_chunk_size=CHUNK_BYTES):
                digest.update(chunk)
                found += len(chunk)
                if found > num_bytes:
                    break
                file.write(chunk)
            if found != num_bytes:
                raise Damaged(f"{found} bytes, expected {num_bytes}")
            if digest.hexdigest() != sha256:
                raise Damaged("its SHA-256 is not the one in the manifest, so it was replaced or damaged in the store")

        self._repeat(once, name)

    def stat(self, name: str = "") -> Listed:
        """Size and version of one object."""
        try:
            meta = self._repeat(lambda: self._client.head(self._full(name)), name)
        except (FileNotFoundError, RefusedError):
            if self.url.scheme not in ("http", "https"):
                raise
            # Some servers answer only GET, and a presigned URL is for one method. The content is not received.
            meta = self._repeat(lambda: self._client.get(self._full(name)).meta, name)
        return Listed(name, meta["size"], _version(meta))

    def exists(self, name: str = "") -> bool:
        """Whether there is such an object."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def list_all(self, folder: str = "") -> list[Listed]:
        """All objects below `folder`, at any depth, sorted by name; no empty objects that represent folders."""
        if self.url.scheme == "hf":
            return sorted(one for one in self._hub_tree(folder, recursive=True) if isinstance(one, Listed))
        self._refuse_without_listing()
        prefix = self._full(folder)

        def once() -> list[Listed]:
            found = [self._listed(meta) for chunk in self._client.list(prefix, chunk_size=1000) for meta in chunk]
            return _without_markers(found, chain([folder], (one.name.rpartition("/")[0] for one in found)))

        return self._repeat(once, folder)

    def list_folder(self, folder: str = "") -> tuple[list[str], list[Listed]]:
        """The names of the folders directly in `folder`, and the objects directly in it, both sorted."""
        if self.url.scheme == "hf":
            tree = list(self._hub_tree(folder, recursive=False))
            return sorted(one for one in tree if isinstance(one, str)), sorted(
                one for one in tree if isinstance(one, Listed)
            )
        self._refuse_without_listing()
        prefix = self._full(folder)

        def once() -> tuple[list[str], list[Listed]]:
            found = self._client.list_with_delimiter(prefix)
            folders = [str(one).rstrip("/").rpartition("/")[2] for one in found["common_prefixes"]]
            inner = ["/".join(filter(None, (folder, name))) for name in folders]
            return sorted(folders), _without_markers(map(self._listed, found["objects"]), [folder, *inner])

        return self._repeat(once, folder)

    def put_whole(self, name: str, content: bytes | Path) -> str | None:
        """Write an object in one request and return its ETag; readers see the old or the new object, never a part.

        S3 gets a SHA-256 to check. If the returned ETag is not the content's MD5, the object is read back and compared.
        """
        self.refuse_read_only()
        num_bytes = content.stat().st_size if isinstance(content, Path) else len(content)
        if num_bytes > self.url.max_put_bytes:
            raise InputError(
                f"{self.url / name}: {num_bytes} bytes, but the store takes {self.url.max_put_bytes} in one request; "
                "make smaller shards (--images-per-shard)"
            )
        data = content.read_bytes() if isinstance(content, Path) else content
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        sender, _ = client_for(self.url, upload_bytes=len(data))

        def once() -> str | None:
            sent = sender.put(self._full(name), data, use_multipart=False)
            e_tag: str | None = sent["e_tag"]
            found = _MD5.fullmatch(e_tag or "")
            if found is None or found[1] != md5:
                stored = bytes(self._client.get(self._full(name)).bytes())
                if stored != data:
                    raise Damaged("the stored content is not what was sent")
            return e_tag

        return self._repeat(once, name)

    def create_once(self, name: str, content: bytes) -> None:
        """Write an object that must not exist yet. Raises FileExistsError if one with other content exists.

        An object with the same content counts as written by this call: after a lost answer, there is no telling.
        """
        self.refuse_read_only()
        sender, _ = client_for(self.url, upload_bytes=len(content))

        def once() -> bool:
            from obstore.exceptions import AlreadyExistsError

            try:
                sender.put(self._full(name), content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return bytes(self._client.get(self._full(name)).bytes()) == content
            return True

        if not self._repeat(once, name):
            raise FileExistsError(errno.EEXIST, "exists already, written by someone else", str(self.url / name))

    def delete(self, name: str) -> None:
        """Remove an object, if it exists."""
        self.refuse_read_only()
        try:
            self._repeat(lambda: self._client.delete(self._full(name)), name)
        except FileNotFoundError:
            return

    def _full(self, name: str) -> str:
        return "/".join(filter(None, (self._prefix, name)))

    def _listed(self, meta: Any) -> Listed:
        name = str(meta["path"])
        name = name[len(self._prefix) :].lstrip("/") if self._prefix else name
        return Listed(name, meta["size"], _version(meta))

    def _refuse_without_listing(self) -> None:
        if self.url.scheme in ("http", "https"):
            raise InputError(
                f"{self.url}: the files on a web server cannot be listed; name them in a .csv or .jsonl list on this "
                "machine, or use the store's own URL (s3://, gs://, az://, hf://)"
            )

    def refuse_read_only(self) -> None:
        """Raise InputError for a store that can only be read."""
        if self.url.scheme in ("http", "https", "hf"):
            raise InputError(f"{self.url}: can only be read; write to a folder or to s3://, gs:// or az://")

    def _hub_tree(self, folder: str, *, recursive: bool) -> Iterator[Listed | str]:
        """What the Hub lists: objects and, unless recursive, the names of folders."""
        repository, revision, _ = hub_root(self.url)
        page_url = f"{hub_endpoint()}/api/datasets/{repository}/tree/{quote(revision, safe='')}/"
        page_url += f"{quote(self._full(folder))}?recursive={str(recursive).lower()}"
        while page_url:
            rows, page_url = self._repeat(partial(_get_json, page_url), folder)
            for row in rows:
                if row["type"] == "file":
                    yield self._listed({"path": row["path"], "size": row["size"], "e_tag": None})
                elif not recursive:
                    yield str(row["path"]).rpartition("/")[2]

    def _repeat(self, once: Callable[[], T], name: str) -> T:
        url = self.url / name if name else self.url
        root, attempt = (self.url.scheme, self.url.host), 0
        while True:
            try:
                result = interruptible(once)
            except (TypeError, AttributeError, KeyError, NameError):
                raise  # a bug of ours
            except Exception as error:
                failure = in_our_words(error, url, self._full(name), has_answered=root in _answered)
            else:
                _answered.add(root)
                return result
            attempt += 1
            if not failure.temporary or attempt == ATTEMPTS:
                raise failure.error  # outside the handler, so that no chained error shows the client's text
            first = FIRST_BUSY_PAUSE_S if failure.is_busy else FIRST_PAUSE_S
            time.sleep(first * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))


def _version(meta: Any) -> str | None:
    """The ETag, if the store can be asked for it: no If-Match is met by a weak one."""
    e_tag: str | None = meta["e_tag"]
    return None if e_tag and e_tag.startswith("W/") else e_tag


def _without_markers(found: Iterable[Listed], folders: Iterable[str]) -> list[Listed]:
    """Without the empty objects that represent folders, such as those that consoles create; sorted by name."""
    names = set()
    for name in folders:
        while name not in names:
            names.add(name)
            name = name.rpartition("/")[0]
    return sorted(one for one in found if one.num_bytes or one.name not in names)


def _get_json(page_url: str) -> tuple[Any, str]:
    """A page of the Hub's answer, and the URL of the next page, empty at the end."""
    from urllib.request import Request, urlopen  # takes 40 ms, which local sources do not need

    with urlopen(Request(page_url, headers=hub_headers()), timeout=30) as answer:
        following = re.search(r'<([^>]+)>;\s*rel="next"', answer.headers.get("Link", ""))
        return json.load(answer), following[1] if following else ""
