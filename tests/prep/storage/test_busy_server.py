"""A server that asks for fewer requests gets fewer: pauses of seconds instead of fractions of one."""

import http.server
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("obstore")

from alexkit.prep.storage import ObjectStore, StoreUrl, store


@pytest.fixture
def answers() -> Iterator[tuple[str, list[int]]]:
    """The URL of a server and the statuses that it still answers with before it is well."""
    statuses: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            return

        def do_GET(self) -> None:
            status = statuses.pop() if statuses else 200
            self.send_response(status)
            self.send_header("Retry-After", "7")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/folder", statuses
        server.shutdown()


@pytest.mark.parametrize(("status", "least"), [(429, 1.0), (503, 1.0), (500, 0.1)])
def test_pauses_are_long_after_429_and_503(
    answers: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch, status: int, least: float
) -> None:
    url, statuses = answers
    statuses += [status] * 9  # the client repeats by itself, three times for each attempt of ours
    pauses: list[float] = []
    monkeypatch.setattr(store.time, "sleep", pauses.append)
    assert ObjectStore(StoreUrl.parse(url)).read("x") == b"ok"
    assert pauses and all(pause >= least for pause in pauses) and (status != 500 or max(pauses) < 1)
