"""Which faults Ray survives, on three hosts that are namespaces of this machine: bytes and time of every trial.

    python benchmarks/ray_faults.py [--seeds 25] [--kinds node cable] [--lanes 3] [--results FILE.jsonl]

A trial is `alexprep shard --engine ray` on synthetic images with one fault at a moment that the seed chooses: a worker
process is killed; a host is lost; the driver is killed and its command repeated; a cable is cut for a minute. Controls:
the same command without a fault on the same hosts, and a run without Ray for the bytes. Every file's SHA-256 must equal
the control's; the time should stay below twice that without a fault plus 30 s.

Most of a trial is waiting, so `--lanes` trials run in parallel, each lane with its own three hosts. Times are then
those of a shared machine; use `--lanes 1` to measure times. One line of JSON per trial goes to stdout. With `--results`
it is also appended to a file, and trials whose bytes were equal there are not repeated, so that a long run can be split
into several runs. Needs root, or permission for users to create namespaces.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "scale" / "clusters"))

from hosts import Host, hosts, in_namespaces

from alexkit.prep.workers import end_with_parent

NUM_HOSTS = 3
CUT_S = 60.0
KINDS = ("cable", "node", "driver", "worker")  # the longest first
PORT = 6379
SLACK_S = 30.0
IMAGES_PER_SHARD = 8
TIMEOUT_S = 1200
MAX_FAILED_STARTS = 3
# A driver that reports on request how many nodes are alive, and how many of their CPUs are free.
WATCHER = """
import ray, sys, time
for attempt in range(60):
    try:
        ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
        break
    except ConnectionError:  # nodes are not there yet
        time.sleep(1)
for _ in sys.stdin:
    alive, free = sum(node["Alive"] for node in ray.nodes()), ray.available_resources().get("CPU", 0)
    print(f"alive: {alive} free: {free:.0f}", flush=True)
"""


def draw_photos(folder: Path, count: int) -> Path:
    """Class folders of noisy JPEG files, large enough that a shard of eight takes about a second."""
    import numpy as np
    from PIL import Image

    for number in range(count):
        rng = np.random.default_rng(number)
        small = rng.integers(0, 256, (60, 80, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize((1600, 1200)).save(file, "JPEG", quality=90)
        path = folder / "train" / f"class{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.getvalue())
    return folder


def command_of(photos: Path, out: Path, *more: str) -> list[str]:
    """The command under test."""
    words = [sys.executable, "-m", "alexkit.cli.alexprep", "shard", str(photos), "--out", str(out)]
    return [*words, "--images-per-shard", str(IMAGES_PER_SHARD), "--workers", "1", *more]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A running cluster."""

    hosts: list[Host]
    watcher: "subprocess.Popen[str]"

    def wait_until_idle(self) -> None:
        """Wait until all nodes are alive and idle; RuntimeError after two minutes."""
        assert self.watcher.stdin and self.watcher.stdout
        answer = ""
        for _ in range(240):
            try:
                self.watcher.stdin.write("\n")
                self.watcher.stdin.flush()
            except BrokenPipeError:
                break
            answer = next((line for line in self.watcher.stdout if line.startswith("alive: ")), "")  # others are Ray's
            if answer.split() == ["alive:", str(NUM_HOSTS), "free:", str(NUM_HOSTS)]:
                return
            time.sleep(0.5)
        raise RuntimeError(f"no idle cluster of {NUM_HOSTS} nodes: {answer}")


@contextmanager
def cluster(logs: Path) -> Iterator[Cluster]:
    """Three hosts with a node of one Ray cluster on each, one CPU in each."""
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    ray += ["--object-store-memory=100000000"]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
    with hosts(NUM_HOSTS) as all_hosts:
        head = all_hosts[0]
        for host in all_hosts:
            where = [f"--address={head.address}:{PORT}"]
            if host is head:
                where = ["--head", f"--port={PORT}", "--include-dashboard=false"]
            host.start([*ray, *where, f"--node-ip-address={host.address}"], logs / f"ray{host.number}.log", **quiet)
            if host is head:
                _wait_until_started(logs / "ray0.log")
        words = head.command([sys.executable, "-c", WATCHER, f"{head.address}:{PORT}"])
        pipe, log, environment = subprocess.PIPE, (logs / "watcher.log").open("w"), {**os.environ, **quiet}
        watcher = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=log, text=True, env=environment)
        head.started.append(watcher)
        yield Cluster(hosts=all_hosts, watcher=watcher)


def _wait_until_started(log: Path) -> None:
    """Wait until the head is up, since nodes started earlier give up; RuntimeError after three minutes."""
    for _ in range(1800):
        if "Ray runtime started" in log.read_text():
            return
        time.sleep(0.1)
    raise RuntimeError(f"no head of a cluster: {log.read_text()[-1000:]}")


def run_on(head: Host, photos: Path, out: Path, log: Path) -> "subprocess.Popen[str]":
    """Start the command on the first host."""
    environment = {"RAY_ADDRESS": f"{head.address}:{PORT}"}
    return head.start(command_of(photos, out, "--engine", "ray"), log, **environment)


def workers_of(host: Host) -> dict[int, str]:
    """Process ids, as seen from outside, of the processes in a host that do a task or prepare images for one."""
    namespace = (Path("/proc") / str(host.process_id) / "ns" / "pid").readlink()
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns" / "pid").readlink() == namespace:
                line = (entry / "cmdline").read_bytes()
                if b"ray::_run_one" in line:
                    found[int(entry.name)] = "Ray's worker"
                elif b"forkserver" in line:
                    parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                    is_server = b"forkserver" not in Path(f"/proc/{parent}/cmdline").read_bytes()
                    found[int(entry.name)] = "the server that our worker is forked from" if is_server else "our worker"
        except OSError:
            continue
    return found


@dataclass(frozen=True, kw_only=True)
class Control:
    """The result that every trial is compared with."""

    photos: str
    expected: dict[str, str]
    """SHA-256 of the files of a run without Ray."""
    num_shards: int

    def undisturbed(self, on: Cluster, logs: Path) -> dict[str, object]:
        """The same command on a cluster without a fault."""
        begin = time.monotonic()
        code = run_on(on.hosts[0], Path(self.photos), logs / "calm", logs / "driver.log").wait(TIMEOUT_S)
        seconds = time.monotonic() - begin
        equal = digests(logs / "calm") == self.expected
        return {"kind": "none", "equal": equal, "seconds": round(seconds, 1), **_log_of(code, logs)}


def trial(kind: str, seed: int, on: Cluster, control: Control, undisturbed_s: float, logs: Path) -> dict[str, object]:
    """One run with a fault, and its result."""
    draws = random.Random(f"{kind} {seed}")
    out, photos = logs / f"out-{kind}-{seed}", Path(control.photos)
    victim, wanted = on.hosts[draws.randrange(1, NUM_HOSTS)], draws.randrange(round(0.8 * control.num_shards))
    begin = time.monotonic()
    driver = run_on(on.hosts[0], photos, out, logs / "driver.log")
    # The moment: a number of finished shards plus a fraction of the time of one shard.
    while len(list(out.rglob("*.part"))) < wanted and driver.poll() is None:
        time.sleep(0.02)
    time.sleep(draws.uniform(0, 1))
    happened = f"{len(list(out.rglob('*.part')))} of {control.num_shards} shards were there; "
    if kind == "worker":
        found: dict[int, str] = {}
        while not found and driver.poll() is None:
            found = {process: what for host in on.hosts for process, what in workers_of(host).items()}
        if found:
            process = draws.choice(sorted(found))
            os.kill(process, 9)
            happened += found[process]
    elif kind == "node":
        victim.kill()
        happened += f"host {victim.number}"
    elif kind == "driver":
        on.hosts[0].kill_program(driver)
        happened += "the driver"
        driver = run_on(on.hosts[0], photos, out, logs / "driver.log")
    else:
        victim.cut()
        happened += f"host {victim.number} for {CUT_S:.0f} s"
        mended = time.monotonic() + CUT_S
        while time.monotonic() < mended and driver.poll() is None:
            time.sleep(0.2)
        victim.mend()
    code = driver.wait(TIMEOUT_S)
    seconds = time.monotonic() - begin
    return {
        "kind": kind,
        "seed": seed,
        "happened": happened,
        "equal": out.exists() and digests(out) == control.expected,
        "seconds": round(seconds, 1),
        "ratio": round(seconds / undisturbed_s, 2),
        "in_time": seconds <= 2 * undisturbed_s + SLACK_S,
        "load": round(os.getloadavg()[0], 1),
        **_log_of(code, logs),
    }


def _log_of(code: int, logs: Path) -> dict[str, object]:
    return {} if code == 0 else {"exit_code": code, "log": (logs / "driver.log").read_text()[-500:]}


def make_trials(control: Control) -> None:
    """Run the trials given on stdin, one [kind, seed, undisturbed seconds] per line; print a row of JSON for each.

    A cluster that lost no host is reused for the next trial.
    """
    line = sys.stdin.readline()
    failed_starts = 0
    while line:
        try:
            with tempfile.TemporaryDirectory() as name, cluster(Path(name)) as on:
                is_whole = True
                while line and is_whole:
                    on.wait_until_idle()
                    kind, seed, undisturbed_s = json.loads(line)
                    if kind == "none":
                        row = control.undisturbed(on, Path(name))
                    else:
                        row = trial(kind, seed, on, control, undisturbed_s, Path(name))
                    print(json.dumps(row), flush=True)
                    is_whole = kind not in ("node", "cable")
                    line = sys.stdin.readline()
        except RuntimeError:  # the cluster did not start, which is not under test here
            failed_starts += 1
            if failed_starts == MAX_FAILED_STARTS:
                raise


class Lane:
    """A process in its own namespaces that runs one trial after another."""

    def __init__(self, control: Path) -> None:
        words, pipe = in_namespaces([sys.executable, __file__, "--lane", str(control)]), subprocess.PIPE
        ends = end_with_parent(os.getpid(), signal.SIGTERM)
        self._process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, preexec_fn=ends)

    def __enter__(self) -> "Lane":
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(60)

    def make(self, kind: str, seed: int, undisturbed_s: float = 1.0) -> dict[str, object]:
        """The row of a trial; RuntimeError if the process has exited."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps([kind, seed, undisturbed_s]) + "\n")
            self._process.stdin.flush()
            return dict(json.loads(self._process.stdout.readline()))
        except (BrokenPipeError, ValueError):
            raise RuntimeError(f"no cluster for {kind} {seed}; the same command with --results continues") from None


def done_before(results: Path | None) -> set[tuple[str, int]]:
    """The trials of earlier runs whose bytes were equal."""
    if results is None or not results.exists():
        return set()
    rows = [json.loads(line) for line in results.read_text().splitlines()]
    return {(row["kind"], row["seed"]) for row in rows if row["kind"] in KINDS and row["equal"]}


def main() -> None:
    """Run all trials that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--lanes", type=int, default=3, help="Trials at a time.")
    parser.add_argument("--results", type=Path, help="A file that every row is appended to.")
    parser.add_argument("--lane", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that hosts are stopped
    if options.lane:
        make_trials(Control(**json.loads(options.lane.read_text())))
        return
    # One token for all nodes and drivers: Ray requires one if there is a token file in the home directory.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    done = done_before(options.results)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    trials = deque(one for seed in seeds for kind in options.kinds if (one := (kind, seed)) not in done)
    rows: list[dict[str, object]] = []

    def keep(row: dict[str, object]) -> None:
        rows.append(row)
        print(json.dumps(row), flush=True)
        if options.results:
            with options.results.open("a") as file:
                file.write(json.dumps(row) + "\n")

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        lanes = [stack.enter_context(Lane(write_control(Path(name), options.images)))]
        calm = lanes[0].make("none", 0)
        keep(calm)
        if not calm["equal"]:
            raise SystemExit(1)
        lanes += [stack.enter_context(Lane(Path(name) / "control.json")) for _ in range(options.lanes - 1)]

        def make_all(lane: Lane) -> None:
            while trials:
                with contextlib.suppress(IndexError):
                    keep(lane.make(*trials.popleft(), float(str(calm["seconds"]))))

        with ThreadPoolExecutor(len(lanes)) as threads:
            try:
                list(threads.map(make_all, lanes))
            finally:
                trials.clear()  # stopped: trials in progress run to completion
    raise SystemExit(0 if all(row["equal"] for row in rows) else 1)


def write_control(scratch: Path, num_images: int) -> Path:
    """Draw images and prepare them without Ray."""
    photos = draw_photos(scratch / "photos", num_images)
    subprocess.run(command_of(photos, scratch / "local"), check=True, capture_output=True)
    num_shards = -(-num_images // IMAGES_PER_SHARD)
    control = {"photos": str(photos), "expected": digests(scratch / "local"), "num_shards": num_shards}
    path = scratch / "control.json"
    path.write_text(json.dumps(control))
    return path


if __name__ == "__main__":
    main()
