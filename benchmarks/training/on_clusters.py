"""The Slurm script and the Kubernetes Job of docs/how-to/train-on-many-machines.md, run on hosts that are namespaces.

    sudo unshare --net --mount --propagation private python benchmarks/training/on_clusters.py [slurm] [job]

`slurm` runs the page's script with Debian's Slurm on two hosts (`apt-get install slurmd slurmctld slurm-client munge`):
once without interruption, once requeued after the first checkpoint. `job` starts the command of the Job's container on
two hosts named like its pods, with the variable that an indexed Job sets, first without interruption, then with pod 1
deleted (SIGTERM to its first process) and restarted; shards come from a web server through the cache. A small CIFAR
network replaces the recipe, one process those of eight GPUs. One line of JSON for each reports whether all losses are
equal, and at which step the second run resumed.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "scale" / "clusters"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from hosts import Host, hosts
from slurm_node_lost import start_slurm, wait_until
from tests.conftest import write_shard_set

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/train-on-many-machines.md").read_text()
SMALL = ["--recipe", "cifar10-19", "--set", "training.batch_size=16", "--set", "schedule.kind=linear"]
SMALL += ["--set", "training.epochs=6"]
PORT = 8123


def name_hosts(pair: list[Host], names: list[str], folder: Path) -> None:
    """Name the hosts so that they find each other by these names and by the longer ones after a space."""
    lines = [f"{host.address} {' '.join(reversed(name.split()))}" for host, name in zip(pair, names, strict=True)]
    (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
    for host, name in zip(pair, names, strict=True):
        subprocess.run(host.command(["hostname", name.split()[0]]), check=True)
        subprocess.run(host.command(["mount", "--bind", str(folder / "hosts"), "/etc/hosts"]), check=True)


def with_checkpoint(folder: Path, name: str) -> bool:
    """Whether a run has saved its first checkpoint."""
    return any((folder / "runs" / name).rglob("*.safetensors"))


def outcome(folder: Path) -> dict[str, object]:
    """Compare the losses of the run `disturbed` with those of `plain`; also the steps at which it was started."""

    def rows(name: str, file: str) -> list[dict[str, object]]:
        return [json.loads(line) for line in (folder / "runs" / name / file).read_text().splitlines()]

    plain, disturbed = (
        {row["step"]: row["loss"] for row in rows(name, "log.jsonl") if "loss" in row}
        for name in ("plain", "disturbed")
    )
    starts = [row["step"] for row in rows("disturbed", "starts.jsonl")]
    return {"losses": len(plain), "equal": bool(plain) and plain == disturbed, "started at steps": starts}


def try_slurm(folder: Path) -> dict[str, object]:
    """Run the page's batch script on two hosts."""
    (script,) = re.findall(r"^```\n(#!/bin/bash\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for old, new in (
        (" --gpus-per-node=8", ""),
        ("--nproc-per-node 8", "--nproc-per-node 1"),
        ("/nfs", str(folder)),
        ("--recipe original", " ".join([*SMALL, '--name "$NAME"'])),
    ):
        assert old in script
        script = script.replace(old, new)
    (folder / "job.sh").write_text(script)
    with hosts(2) as pair:
        name_hosts(pair, ["h0", "h1"], folder)
        environment = start_slurm(pair, folder / "slurm")

        def call(*words: str) -> str:
            done = subprocess.run(pair[0].command(words), env=environment, capture_output=True, text=True, check=True)
            return done.stdout.strip()

        for name in ("plain", "disturbed"):
            variables = f"--export=ALL,NAME={name},OMP_NUM_THREADS=1"
            output = f"--output={folder}/{name}.out"
            job = call("sbatch", "--parsable", output, "--open-mode=append", variables, str(folder / "job.sh"))
            if name == "disturbed":
                wait_until(lambda: with_checkpoint(folder, "disturbed"), "a checkpoint", 600)
                call("scontrol", "requeue", job)
            wait_until(lambda job=job: not call("squeue", "-h", "-j", job), f"job {job}", 1200)
    return {"slurm": outcome(folder)}


def container_command(folder: Path, name: str, address: str) -> list[str]:
    """The command of the Job's container, with a small network and shards from a web server."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (job,) = (document for document in yaml.safe_load_all(block) if document["kind"] == "Job")
    words: list[str] = job["spec"]["template"]["spec"]["containers"][0]["command"]
    replaced = {"8": "1", "s3://bucket/shards": address, "/cache": "", "/runs": str(folder / "runs")}
    words = [replaced.get(word, word) for word in words]
    at = words.index("--recipe")
    return [*words[:at], *SMALL, *words[at + 2 :], "--name", name]


def try_job(folder: Path) -> dict[str, object]:
    """Run the Job's command on two hosts that are named like its pods."""
    codes: dict[str, list[int]] = {}
    with hosts(2) as pair:
        name_hosts(pair, ["train-0 train-0.train", "train-1 train-1.train"], folder)
        serve = ["-m", "http.server", str(PORT), "--bind", pair[0].address, "--directory", str(folder / "shards")]
        server = pair[0].start([sys.executable, *serve], folder / "server.log")
        time.sleep(2)

        def pods(name: str, attempt: str) -> "list[subprocess.Popen[str]]":
            command = container_command(folder, name, f"http://{pair[0].address}:{PORT}")
            settings = {"OMP_NUM_THREADS": "1"}
            return [
                host.start(
                    [word or str(folder / f"cache-{host.number}") for word in command],
                    folder / f"{attempt}-{host.number}.log",
                    JOB_COMPLETION_INDEX=str(host.number),
                    **settings,
                )
                for host in pair
            ]

        codes["plain"] = [pod.wait(900) for pod in pods("plain", "plain")]
        first = pods("disturbed", "deleted")
        wait_until(lambda: with_checkpoint(folder, "disturbed"), "a checkpoint", 600)
        (torchrun,) = Path(f"/proc/{first[1].pid}/task/{first[1].pid}/children").read_text().split()
        subprocess.run(["kill", "-TERM", torchrun], check=True)
        codes["pod 1 deleted"] = [pod.wait(300) for pod in first]
        codes["started again"] = [pod.wait(900) for pod in pods("disturbed", "again")]
        server.terminate()
    return {"job": {**outcome(folder), "exit codes": codes}}


def main() -> None:
    """Run the named trials, or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="a folder for shards, runs and logs, which is kept")
    parser.add_argument("what", nargs="*", choices=["slurm", "job", []], help="one of them alone")
    options = parser.parse_args()
    for what in options.what or ["slurm", "job"]:
        with tempfile.TemporaryDirectory() as name:
            folder = (options.keep or Path(name)) / what
            for split, count in (("train", 160), ("val", 16)):
                write_shard_set(folder / "shards" / split, num_samples=count, size_px=32, split=split)
            print(json.dumps((try_slurm if what == "slurm" else try_job)(folder)), flush=True)


if __name__ == "__main__":
    main()
