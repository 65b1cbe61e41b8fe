"""Simulated hosts: namespaces with their own network, hostname, processes and /tmp/ray, and cables that can be cut.

    with hosts(3) as (one, two, three):
        one.start(["ray", "start", "--head", f"--node-ip-address={one.address}", "--block"])
        three.cut()   # no packets in or out
        three.mend()
        three.kill()  # like a power cut: every process in it ends

Needs root; other users must run it within `unshare --map-root-user --net --mount` (see `in_namespaces`). All hosts see
the machine's files, like a shared file system.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.77.0"
_BRIDGE = "alexkit-br"


@dataclass(kw_only=True)
class Host:
    """A running host."""

    number: int
    process_id: int
    """The id of its first process, as seen from outside."""
    holder: "subprocess.Popen[bytes]"
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    @property
    def address(self) -> str:
        """Its address in the hosts' common network."""
        return f"{NETWORK}.{self.number + 1}"

    def command(self, words: Sequence[str]) -> list[str]:
        """The command that runs `words` in the host."""
        return ["nsenter", "-t", str(self.process_id), "-n", "-p", "-m", "-u", "--", *words]

    def start(self, words: Sequence[str], log: Path | None = None, **environment: str) -> "subprocess.Popen[str]":
        """Start a program in the host; its output goes to `log`, or to a pipe."""
        where: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if log is not None:
            file = log.open("w")
            where = {"stdout": file, "stderr": file}
        process = subprocess.Popen(  # type: ignore[call-overload]
            self.command(words), env={**os.environ, **environment}, text=True, start_new_session=True, **where
        )
        self.started.append(process)
        return process  # type: ignore[no-any-return]

    def kill_program(self, process: "subprocess.Popen[str]") -> None:
        """Kill a program started by `start`: the process in the host is killed, and its parent outside ends with it."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        process.wait()

    def cut(self) -> None:
        """Cut the cable."""
        _run("ip", "link", "set", f"veth{self.number}", "down")

    def mend(self) -> None:
        """Reconnect the cable."""
        _run("ip", "link", "set", f"veth{self.number}", "up")

    def kill(self) -> None:
        """End every process in the host at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process_id, signal.SIGKILL)
        self.holder.wait()


@contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Run `count` connected hosts until the block ends. Raises OSError or CalledProcessError if they cannot run."""
    running: list[Host] = []
    Path("/tmp/ray").mkdir(exist_ok=True)  # a mount point; each host mounts its own there
    try:
        _run("ip", "link", "add", _BRIDGE, "type", "bridge")
        _run("ip", "link", "set", _BRIDGE, "up")
        _run("ip", "addr", "add", f"{NETWORK}.254/24", "dev", _BRIDGE)
        for number in range(count):
            running.append(_new_host(number))
        yield running
    finally:
        for host in running:
            host.kill()
            for process in host.started:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
            subprocess.run(["ip", "link", "del", f"veth{host.number}"], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", _BRIDGE], capture_output=True, check=False)


def can_make_hosts() -> bool:
    """Whether namespaces can be created here."""
    command = [*_OUTSIDE, sys.executable, "-c", "import hosts\nwith hosts.hosts(1): pass"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    try:
        return subprocess.run(command, env=environment, capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def in_namespaces(words: Sequence[str]) -> list[str]:
    """The command that runs `words` where `hosts` may be used."""
    return [*_OUTSIDE, *words]


_OUTSIDE = ["unshare", "--map-root-user", "--net", "--mount", "--propagation", "private"]


def _new_host(number: int) -> Host:
    inside = f"hostname h{number}; mount -t tmpfs tmpfs /tmp/ray; ip link set lo up; echo ready; "
    inside += "while :; do sleep 3600; done"  # a shell, since the first process must reap orphans
    holder = subprocess.Popen(
        ["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", inside],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # unshare complains when its child is killed
        start_new_session=True,
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != b"ready\n":
        raise OSError("no namespaces here")
    (child,) = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
    host = Host(number=number, process_id=int(child), holder=holder)
    peer = f"peer{number}"
    _run("ip", "link", "add", f"veth{number}", "type", "veth", "peer", "name", peer, "netns", child)
    _run("ip", "link", "set", f"veth{number}", "master", _BRIDGE, "up")
    for words in (("link", "set", peer, "name", "eth0"), ("addr", "add", f"{host.address}/24", "dev", "eth0")):
        _run(*host.command(["ip", *words]))
    _run(*host.command(["ip", "link", "set", "eth0", "up"]))
    return host


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
