"""Trains on two simulated hosts: without faults, then with a cut cable, after which the run is started again.

    unshare --map-root-user --net --mount python two_hosts_script.py FOLDER

FOLDER holds `shards`; runs go to FOLDER/runs. Prints one line of JSON.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from hosts import Host, hosts

TIMEOUT_S = 20
RECIPE = ("--recipe", "cifar10-19", "--set", "training.batch_size=16", "--set", "schedule.kind=linear")
PORT = 29400


def torchrun(host: Host, pair: list[Host], folder: Path, name: str, epochs: int) -> "subprocess.Popen[str]":
    """Start torchrun on one of the two hosts."""
    words = [str(Path(sys.executable).with_name("torchrun")), "--nnodes", "2", "--nproc-per-node", "1"]
    words += ["--rdzv-id", name, "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{pair[0].address}:{PORT}"]
    words += ["--rdzv-conf", f"is_host={int(host is pair[0])}", "--local-addr", host.address, "--no-python"]
    words += [sys.executable, "-m", "alexkit.cli.alextrain", *arguments(folder, name, epochs)]
    settings = {"GLOO_SOCKET_IFNAME": "eth0", "ALEXKIT_TIMEOUT_S": str(TIMEOUT_S), "OMP_NUM_THREADS": "1"}
    return host.start(words, folder / f"{name}-{host.number}.log", **settings)


def arguments(folder: Path, name: str, epochs: int) -> list[str]:
    """The arguments of alextrain."""
    words = ["--shards", str(folder / "shards"), "--runs", str(folder / "runs"), "--name", name, *RECIPE]
    return [*words, "--set", f"training.epochs={epochs}"]


def losses(folder: Path, name: str) -> dict[int, float]:
    """The logged losses by step; for a step that was run twice, the later one."""
    rows = [json.loads(line) for line in (folder / "runs" / name / "log.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}


def wait_for_a_checkpoint(folder: Path, name: str, runs: "list[subprocess.Popen[str]]") -> None:
    for _ in range(1200):
        if any((folder / "runs" / name).rglob("*.safetensors")) or any(run.poll() is not None for run in runs):
            return
        time.sleep(0.1)
    raise TimeoutError("no checkpoint")


def main() -> None:
    folder, epochs = Path(sys.argv[1]), 6
    found: dict[str, object] = {}
    words = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2", "--no-python"]
    words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{PORT}", "--rdzv-conf", "is_host=1"]
    words += ["--local-addr", "127.0.0.1", sys.executable, "-m", "alexkit.cli.alextrain"]
    with hosts(2) as pair:
        settings = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        code = pair[0].start([*words, *arguments(folder, "one", epochs)], folder / "one.log", **settings).wait(400)
        found["one host"] = [code, (folder / "one.log").read_text()[-800:] if code else ""]
        runs = [torchrun(host, pair, folder, "two", epochs) for host in pair]
        found["two hosts"] = [run.wait(400) for run in runs]
        runs = [torchrun(host, pair, folder, "cut", epochs) for host in pair]
        wait_for_a_checkpoint(folder, "cut", runs)
        pair[1].cut()
        begin = time.monotonic()
        ends: dict[int, float] = {}
        while len(ends) < 2 and time.monotonic() - begin < 10 * TIMEOUT_S:
            for number, run in enumerate(runs):
                if number not in ends and run.poll() is not None:
                    ends[number] = round(time.monotonic() - begin, 1)
            time.sleep(0.1)
        found["seconds until each host ended"] = [ends.get(number) for number in range(2)]
        found["exit codes"] = [run.poll() for run in runs]
        found["words"] = [(folder / f"cut-{number}.log").read_text()[-4000:] for number in range(2)]
        pair[1].mend()
    with hosts(2) as pair:
        runs = [torchrun(host, pair, folder, "cut", epochs) for host in pair]
        found["run given again"] = [run.wait(400) for run in runs]
    if code == 0:
        found["losses"] = [losses(folder, name) for name in ("one", "two", "cut")]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
