"""An HTTP proxy for a server on 127.0.0.1 that injects the faults of networks and stores, from a seeded plan.

    with fault_proxy(server.endpoint, rate=0.3, seed=1) as proxy:
        ...  # clients use proxy.endpoint
    proxy.faults  # number of injected faults by kind

The Host header is forwarded, so that signatures made for the proxy are valid at the server.
"""

import http.client
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

STALL_S = 12.0
FAULTS = ("503", "429", "drop", "reset", "short", "flip", "stall")
"""503; 429 with Retry-After; connection closed before any response; reset in the middle of a body; truncated body; one
bit of the body flipped; no response for STALL_S seconds."""


@dataclass
class FaultProxy:
    """A running proxy. Settings may be changed while it runs."""

    endpoint: str
    rate: float
    kinds: Sequence[str]
    latency_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Number of requests by (method, path)."""

    answered: Counter[str] = field(default_factory=Counter)
    """Number of GETs by path that were answered with a complete, unmodified body."""

    bodies: Counter[str] = field(default_factory=Counter)
    """Bytes of the largest GET response body, by path."""

    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Status and error code for GETs of paths that end so; an empty ending refuses every GET of an object."""

    most_at_once: int = 0
    """Maximum number of concurrent requests."""

    under_way: int = 0


@contextmanager
def fault_proxy(
    server: str,
    *,
    rate: float = 0.0,
    kinds: Sequence[str] = FAULTS,
    seed: int = 0,
    latency_s: float = 0.0,
    stall_s: float = STALL_S,
) -> Iterator[FaultProxy]:
    """Run a proxy for `server` (http://HOST:PORT) until the block ends; a fraction `rate` of requests gets a fault."""
    upstream = urlsplit(server)
    draws = random.Random(seed)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            return

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            path = urlsplit(self.path).path
            with lock:
                proxy.requests[self.command, path] += 1
                fault = draws.choice(list(proxy.kinds)) if draws.random() < proxy.rate else ""
                position = draws.random()
                if fault:
                    proxy.faults[fault] += 1
                proxy.under_way += 1
                proxy.most_at_once = max(proxy.most_at_once, proxy.under_way)
            try:
                self._answer_after(fault, position, body, path)
            finally:
                with lock:
                    proxy.under_way -= 1

        def _answer_after(self, fault: str, position: float, body: bytes, path: str) -> None:
            if proxy.latency_s:
                time.sleep(proxy.latency_s)
            ends = next((ending for ending in proxy.refused if path.endswith(ending)), None)
            if ends is not None and self.command == "GET" and path.count("/") > 1:
                status, code = proxy.refused[ends]
                self._answer(status, [], f"<Error><Code>{code}</Code></Error>".encode(), "")
                return
            if fault in ("503", "429"):
                self._answer(int(fault), [("Retry-After", "1")] if fault == "429" else [], b"slow down", "")
                return
            if fault == "drop":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if fault == "stall":
                time.sleep(stall_s)
                self.close_connection = True
                return
            if fault == "flip" and self.command == "PUT" and body:
                body, fault = _flipped(body, position), ""
            status, headers, content = self._ask(body)
            if fault == "flip" and content and self.command == "GET":
                content = _flipped(content, position)
            self._answer(status, headers, content, fault)
            if not fault and self.command == "GET" and status in (200, 206):
                with lock:
                    proxy.answered[path] += 1
                    proxy.bodies[path] = max(proxy.bodies[path], len(content))

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

        def _ask(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(str(upstream.hostname), upstream.port, timeout=60)
            try:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    if name.lower() not in ("connection", "expect"):
                        connection.putheader(name, value)
                connection.endheaders(body or None)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, fault: str) -> None:
            self.send_response_only(status)
            length = next((value for name, value in headers if name.lower() == "content-length"), str(len(content)))
            for name, value in headers:
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(content)))
            self.end_headers()
            if self.command == "HEAD":
                return
            broken = fault in ("reset", "short")
            self.wfile.write(content[: len(content) // 2] if broken else content)
            if broken:
                self.wfile.flush()
                self.close_connection = True
            if fault == "reset":  # closing with a linger of zero sends RST instead of FIN
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

        def handle(self) -> None:
            with suppress(OSError, ValueError):  # the client, or we, closed the connection
                super().handle()

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            return

    with Server(("127.0.0.1", 0), Handler) as listener:
        proxy = FaultProxy(
            endpoint=f"http://127.0.0.1:{listener.server_port}", rate=rate, kinds=tuple(kinds), latency_s=latency_s
        )
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown()
            thread.join()


def _flipped(content: bytes, position: float) -> bytes:
    """`content` with one bit changed."""
    changed = bytearray(content)
    changed[int(position * len(content))] ^= 4
    return bytes(changed)
