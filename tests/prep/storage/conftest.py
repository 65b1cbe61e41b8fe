"""A server that answers what a test says, as S3, Azure, GCS, the Hub and a web server."""

import base64
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from alexkit.prep.storage import client, store

Answer = Callable[[str, str], tuple[int, bytes]]


class Server(http.server.ThreadingHTTPServer):
    """Answers what `answer(method, path)` gives, and notes what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answer: Answer = lambda method, path: (200, b"ok")
        self.asked: list[str] = []
        self.seconds_per_64k = 0.0
        self.e_tag = '"1"'


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are sent apart, so the body would wait for 40 ms
    server: Server

    def log_message(self, *args: object) -> None:
        return

    def do_GET(self) -> None:
        left = int(self.headers.get("Content-Length", "0"))
        while left:
            left -= len(self.rfile.read(min(left, 2**16)))
            time.sleep(self.server.seconds_per_64k)
        self.server.asked.append(self.path)
        status, body = self.server.answer(self.command, self.path)
        wanted = self.headers.get("Range") if status == 200 else None
        size = len(body)
        if wanted is not None:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            status, body = 206, body[int(first) : int(last) + 1]
        self.send_response(status)
        if wanted is not None:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{size}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("ETag", self.server.e_tag)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    gcs = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        for name, value in {
            "AWS_ENDPOINT_URL": running.url,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
            "HF_ENDPOINT": running.url,
            "HF_TOKEN": "c",
            "AZURE_STORAGE_ENDPOINT": f"{running.url}/account",
            "AZURE_STORAGE_ACCOUNT_NAME": "account",
            "AZURE_STORAGE_ACCOUNT_KEY": base64.b64encode(b"key").decode(),
            "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps({**gcs, "gcs_base_url": running.url}),
        }.items():
            monkeypatch.setenv(name, value)
        obstore = pytest.importorskip("obstore")
        gcs_store = obstore.store.GCSStore

        def over_http(bucket: str, *, client_options: Any, retry_config: Any) -> Any:
            return gcs_store(bucket, client_options={**client_options, "allow_http": True}, retry_config=retry_config)

        monkeypatch.setattr(obstore.store, "GCSStore", over_http)
        monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.001)
        monkeypatch.setattr(store, "FIRST_BUSY_PAUSE_S", 0.001)
        monkeypatch.setattr(client, "CLIENT_RETRIES", 0)
        monkeypatch.setattr(client, "_clients", {})
        monkeypatch.setattr(store, "_answered", set())
        yield running
        running.shutdown()


def xml(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>as it says</Message></Error>".encode()
