"""The same store laws on Azure Blob Storage, as Azurite speaks it."""

import base64
import email.utils
import hashlib
import hmac
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import free_ports

from alexkit.prep.storage import ChangedError, ObjectStore, StoreUrl, client

pytestmark = pytest.mark.slow

# Azurite's own account, the same everywhere; printed in its documentation.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
START_S = 60


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A prefix of a container of a running Azurite."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("needs Azurite: npm install -g azurite")
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    flags = ["--silent", "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"]
    with subprocess.Popen(
        [program, *flags, "--blobHost", "127.0.0.1", "--blobPort", str(port)], cwd=tmp_path, start_new_session=True
    ) as process:
        try:
            make_container(process, endpoint, "box")
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
            monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
            monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
            client._clients.clear()
            yield ObjectStore(StoreUrl.parse("az://box/prefix"))
        finally:
            client._clients.clear()
            process.kill()


def make_container(process: "subprocess.Popen[bytes]", endpoint: str, name: str) -> None:
    date, version = email.utils.formatdate(usegmt=True), "2021-08-06"
    headers = f"x-ms-date:{date}\nx-ms-version:{version}"
    text = "PUT" + "\n" * 12 + f"{headers}\n/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    request = urllib.request.Request(
        f"{endpoint}/{name}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": version,
            "Authorization": f"SharedKey {ACCOUNT}:{signature}",
            "Content-Length": "0",
        },
    )
    for _ in range(START_S * 10):
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return
        except urllib.error.HTTPError:
            raise
        except OSError:
            assert process.poll() is None, "Azurite did not start"
            time.sleep(0.1)
    raise AssertionError("Azurite does not answer")


def test_azure_reads_lists_creates_once_and_sees_changes(store: ObjectStore) -> None:
    store.put_whole("a/one", b"0123456789")
    assert store.read("a/one") == b"0123456789" and store.read("a/one", range=(2, 5)) == b"234"
    assert [one.name for one in store.list_all()] == ["a/one"] and store.list_folder() == (["a"], [])
    store.create_once("manifest", b"mine")
    store.create_once("manifest", b"mine")
    with pytest.raises(FileExistsError, match="written by someone else"):
        store.create_once("manifest", b"yours")
    e_tag = store.stat("a/one").e_tag
    store.put_whole("a/one", b"new")
    with pytest.raises(ChangedError, match="changed since it was listed"):
        store.read("a/one", if_match=e_tag)
