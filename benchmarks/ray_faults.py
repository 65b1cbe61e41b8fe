"""What Ray survives, on three hosts that are namespaces of this machine: the bytes and the time of every trial.

    unshare --map-root-user --net --mount python benchmarks/ray_faults.py [--seeds 25] [--kinds node cable]

A trial is `alexprep shard --engine ray` of drawn images while one thing happens at a moment that the seed chooses:
a worker process is killed; a host is lost; the driver is killed, and its command given again; a cable is cut for a
minute. Control: the same command undisturbed on the same hosts, and a run without Ray for the bytes. Every file's
SHA-256 must be the control's; the time should stay below twice the undisturbed one plus 30 s. One line of JSON for each
trial goes to stdout.
"""

import argparse
import hashlib
import io
import json
import os
import random
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "scale" / "clusters"))

from hosts import Host, hosts

NUM_HOSTS = 3
CUT_S = 60.0
KINDS = ("worker", "node", "driver", "cable")
PORT = 6379
SLACK_S = 30.0


def draw_photos(folder: Path, count: int) -> Path:
    """Class folders of noisy JPEG files, so large that a shard of eight takes about a second."""
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
    return [*words, "--images-per-shard", "8", "--workers", "1", *more]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def cluster(logs: Path) -> Iterator[list[Host]]:
    """Three hosts with a node of one Ray cluster on each, one CPU in each."""
    ray = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", "--disable-usage-stats"]
    ray += ["--object-store-memory=100000000"]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
    with hosts(NUM_HOSTS) as all_hosts:
        for host in all_hosts:
            where = [f"--address={all_hosts[0].address}:{PORT}"]
            if host.number == 0:
                where = ["--head", f"--port={PORT}", "--include-dashboard=false"]
            host.start([*ray, *where, f"--node-ip-address={host.address}"], logs / f"ray{host.number}.log", **quiet)
            _wait_for_nodes(all_hosts[0], host.number + 1)
        yield all_hosts


def _wait_for_nodes(head: Host, count: int) -> None:
    """Return when so many nodes are alive."""
    code = f"import ray; ray.init('{head.address}:{PORT}', log_to_driver=False, logging_level='ERROR')\n"
    code += "print(sum(node['Alive'] for node in ray.nodes()))"
    for _ in range(60):
        time.sleep(1)
        asked = head.command([sys.executable, "-c", code])
        done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode == 0 and int(done.stdout.split()[-1]) >= count:
            return
    raise RuntimeError(f"no cluster of {count} nodes: {done.stderr[-1000:]}")


def run_on(head: Host, photos: Path, out: Path, log: Path) -> "subprocess.Popen[str]":
    """Start the command on the first host."""
    environment = {"RAY_ADDRESS": f"{head.address}:{PORT}"}
    return head.start(command_of(photos, out, "--engine", "ray"), log, **environment)


def workers_of(host: Host) -> list[int]:
    """Process ids, as seen from outside, of the processes in a host that do a task or prepare images for one."""
    namespace = (Path("/proc") / str(host.process_id) / "ns" / "pid").readlink()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns" / "pid").readlink() == namespace:
                line = (entry / "cmdline").read_bytes()
                if b"ray::_run_one" in line or b"forkserver" in line:
                    found.append(int(entry.name))
        except OSError:
            continue
    return found


def trial(
    kind: str, seed: int, photos: Path, expected: dict[str, str], undisturbed_s: float, logs: Path
) -> dict[str, object]:
    """One disturbed run on a cluster of its own, and what became of it."""
    draws = random.Random(f"{kind} {seed}")
    out = logs / f"out-{kind}-{seed}"
    with cluster(logs) as all_hosts:
        head, victim = all_hosts[0], all_hosts[draws.randrange(1, NUM_HOSTS)]
        begin, happened = time.monotonic(), ""
        driver = run_on(head, photos, out, logs / "driver.log")
        time.sleep(draws.uniform(0.1, 0.8) * undisturbed_s)
        if kind == "worker":
            processes = [one for host in all_hosts for one in workers_of(host)]
            if processes:
                os.kill(draws.choice(processes), 9)
            happened = f"one of {len(processes)} processes"
        elif kind == "node":
            victim.kill()
            happened = f"host {victim.number}"
        elif kind == "driver":
            head.kill_program(driver)
            happened = f"{len(list(out.rglob('*.npz')))} parts were there"
            driver = run_on(head, photos, out, logs / "driver.log")
        else:
            victim.cut()
            happened = f"host {victim.number} for {CUT_S:.0f} s"
            mended = time.monotonic() + CUT_S
            while time.monotonic() < mended and driver.poll() is None:
                time.sleep(0.2)
            victim.mend()
        code = driver.wait(1200)
        seconds = time.monotonic() - begin
    return {
        "kind": kind,
        "seed": seed,
        "happened": happened,
        "exit_code": code,
        "equal": out.exists() and digests(out) == expected,
        "seconds": round(seconds, 1),
        "in_time": seconds <= 2 * undisturbed_s + SLACK_S,
        **({} if code == 0 else {"log": (logs / "driver.log").read_text()[-500:]}),
    }


def main() -> None:
    """Run all trials."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--images", type=int, default=400)
    options = parser.parse_args()
    # One token for all nodes and drivers: where a token file lies in the home, Ray asks for one.
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        photos = draw_photos(scratch / "photos", options.images)
        subprocess.run(command_of(photos, scratch / "local"), check=True, capture_output=True)
        expected = digests(scratch / "local")
        with cluster(scratch) as all_hosts:
            begin = time.monotonic()
            code = run_on(all_hosts[0], photos, scratch / "calm", scratch / "driver.log").wait(1200)
            undisturbed_s = time.monotonic() - begin
        equal = code == 0 and digests(scratch / "calm") == expected
        print(json.dumps({"kind": "none", "equal": equal, "seconds": round(undisturbed_s, 1)}), flush=True)
        if not equal:
            raise SystemExit((scratch / "driver.log").read_text()[-2000:])
        failed = 0
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            for kind in options.kinds:
                row = trial(kind, seed, photos, expected, undisturbed_s, scratch)
                failed += not row["equal"]
                print(json.dumps(row), flush=True)
        raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
