"""A fake Hugging Face Hub API: repositories in memory, served on a port that the system chooses."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Hub(ThreadingHTTPServer):
    """The server and its state: `private` by repository, `files` by repository and path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.private: dict[str, bool] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        self.blobs: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/api/whoami"):
            return self._answer({"name": "me", "type": "user", "orgs": []})
        repository = "/".join(
            self.path.removeprefix("/api").removeprefix("/datasets").removeprefix("/models").split("/")[1:3]
        )
        if self.path.startswith("/api/") and repository in self.server.private:
            paths = [path for name, path in self.server.files if name == repository]
            if "/tree/" in self.path:
                return self._answer([{"type": "file", "path": path, "size": 1, "oid": "0" * 40} for path in paths])
            return self._answer({"id": repository, "siblings": [{"rfilename": path} for path in paths]})
        content = self.server.files.get((repository, unquote(self.path.partition("/resolve/main/")[2])))
        if content is not None:
            return self._send(content, 200, "application/octet-stream")
        return self._answer({"error": "not here"}, 404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != "Bearer right":
            return self._answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            known = name in self.server.private
            private = asked.get("visibility") == "private" or asked.get("private") is True
            self.server.private.setdefault(name, private)
            return self._answer({"url": f"{self.server.url}/datasets/{name}"}, 409 if known else 200)
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith((".tar", ".safetensors")) else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for one in json.loads(body)["files"]
            ]
            return self._answer({"files": files})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = []
            for one in json.loads(body)["objects"]:
                upload = (
                    {}
                    if one["oid"] in self.server.blobs
                    else {"actions": {"upload": {"href": f"{self.server.url}/blob/{one['oid']}"}}}
                )
                objects.append({"oid": one["oid"], "size": one["size"], "authenticated": True, **upload})
            return self._answer({"transfer": "basic", "objects": objects}, kind="application/vnd.git-lfs+json")
        if "/commit/" in self.path:
            repository = "/".join(self.path.split("/")[3:5])
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    self.server.files[repository, value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "deletedFile":
                    del self.server.files[repository, value["path"]]
                elif entry["key"] == "lfsFile":
                    self.server.files[repository, value["path"]] = self.server.blobs[value["oid"]]
            commit = {"commitOid": "0" * 40, "commitUrl": f"{self.server.url}/datasets/{repository}/commit/0"}
            return self._answer({"success": True, **commit})
        return self._answer({"error": f"no such path: {self.path}"}, 404)

    def do_PUT(self) -> None:
        self.server.blobs[self.path.rsplit("/", 1)[1]] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({})

    def _answer(self, data: object, status: int = 200, kind: str = "application/json") -> None:
        self._send(json.dumps(data).encode(), status, kind)

    def _send(self, content: bytes, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub() -> Iterator[Hub]:
    """A hub that serves while the block runs; it accepts the token `right`."""
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
