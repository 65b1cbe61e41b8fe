"""A job array of `alexprep shard --part` on a real Slurm that loses a node: all files must equal a local run's.

    sudo unshare --net --mount python benchmarks/slurm_node_lost.py [--seeds 3]

Three hosts that are namespaces of this machine run Debian's slurmd, the first also slurmctld; both need root
(`apt-get install slurmd slurmctld slurm-client munge`). While the array runs, the last host dies as in a power cut;
Slurm notices and requeues its tasks. Then the command without --part completes the set. One line of JSON per seed goes
to stdout.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "scale" / "clusters"))
sys.path.insert(0, str(Path(__file__).parent))

from hosts import Host, hosts
from ray_faults import command_of, digests, draw_photos

NUM_HOSTS, NUM_PARTS = 3, 12
NEEDED = ("slurmctld", "slurmd", "sbatch", "squeue", "munged")
SLURM_CONF = """
ClusterName=test
SlurmctldHost=h0({head})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
SlurmdTimeout=10
SlurmctldTimeout=10
MinJobAge=3600
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def start_slurm(all_hosts: list[Host], folder: Path) -> dict[str, str]:
    """Munge, controller and one daemon on each host; the environment of commands."""
    folder.mkdir()
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o600)
    nodes = "\n".join(
        f"NodeName=h{host.number} NodeAddr={host.address} CPUs=1 RealMemory=1000 State=UNKNOWN" for host in all_hosts
    )
    conf = SLURM_CONF.format(head=all_hosts[0].address, folder=folder, nodes=nodes)
    (folder / "slurm.conf").write_text(conf)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    munged = [str(shutil.which("munged")), "--foreground", "--force", f"--socket={folder}/munge.socket"]
    munged += [f"--key-file={folder}/munge.key", f"--log-file={folder}/munged.log", f"--pid-file={folder}/munged.pid"]
    munged += [f"--seed-file={folder}/munged.seed"]
    all_hosts[0].start(munged, folder / "munged.out")
    wait_until(lambda: (folder / "munge.socket").exists(), "munged")
    conf_file = environment["SLURM_CONF"]
    all_hosts[0].start([str(shutil.which("slurmctld")), "-D"], folder / "ctld.out", SLURM_CONF=conf_file)
    for host in all_hosts:
        (folder / f"spool-h{host.number}").mkdir()
        words = [str(shutil.which("slurmd")), "-D", "-N", f"h{host.number}"]
        host.start(words, folder / f"slurmd{host.number}.out", SLURM_CONF=conf_file)
    ready = all_hosts[0].command(["sinfo", "-h", "-N", "-o", "%T"])

    def all_idle() -> bool:
        done = subprocess.run(ready, env=environment, capture_output=True, text=True, check=False)
        return done.stdout.split() == ["idle"] * len(all_hosts)

    wait_until(all_idle, f"nodes; see {folder}")
    return environment


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Poll until a condition holds; TimeoutError with `what` if it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.3)


def trial(seed: int, photos: Path, expected: dict[str, str], scratch: Path) -> dict[str, object]:
    """One array with a node lost, and its result."""
    out, folder = scratch / f"out{seed}", scratch / f"slurm{seed}"
    draws = random.Random(seed)
    with hosts(NUM_HOSTS) as all_hosts:
        environment = start_slurm(all_hosts, folder)
        head = all_hosts[0]
        words = " ".join(command_of(photos, out))
        script = f"cd {scratch}; {words} --part $SLURM_ARRAY_TASK_ID/{NUM_PARTS}"
        sbatch = ["sbatch", "--parsable", f"--array=0-{NUM_PARTS - 1}", "--requeue", f"--output={folder}/job-%a.out"]
        begin = time.monotonic()
        started = subprocess.run(
            head.command([*sbatch, "--wrap", script]), env=environment, capture_output=True, text=True, check=True
        )
        job = started.stdout.strip()
        wait_until(lambda: len(list(out.rglob("*.part"))) >= draws.randrange(2, 6), "the first parts")
        all_hosts[-1].kill()
        before = len(list(out.rglob("*.part")))
        queue = head.command(["squeue", "-h", "-r", "-j", job])

        def nothing_queued() -> bool:
            done = subprocess.run(queue, env=environment, capture_output=True, text=True, check=False)
            return done.returncode == 0 and not done.stdout.strip()

        wait_until(nothing_queued, f"the array; see {folder}", 900)
        complete = (out / "train" / "manifest.json").exists()
        log = (folder / "slurmctld.log").read_text()
        last = subprocess.run(command_of(photos, out), capture_output=True, text=True, check=False)
    return {
        "seed": seed,
        "parts when the node was lost": before,
        "requeued": "requeue" in log.lower(),
        "array completed the set": complete,
        "exit_code": last.returncode,
        "equal": digests(out) == expected,
        "seconds": round(time.monotonic() - begin, 1),
    }


def main() -> None:
    """Run all trials."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=240)
    options = parser.parse_args()
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        raise SystemExit(f"needs {', '.join(missing)}: apt-get install slurmd slurmctld slurm-client munge")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        photos = draw_photos(scratch / "photos", options.images)
        subprocess.run(command_of(photos, scratch / "local"), check=True, capture_output=True)
        expected = digests(scratch / "local")
        failed = 0
        for seed in range(options.seeds):
            row = trial(seed, photos, expected, scratch)
            failed += not row["equal"]
            print(json.dumps(row), flush=True)
        raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
