"""Ranks that are killed at any moment: nobody waits for their locks, and nothing of theirs stays."""

import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_proxy import FaultProxy

from alexkit.pipeline.remote import ShardCache
from alexkit.prep.storage import ObjectStore, StoreUrl

pytestmark = pytest.mark.slow

ROUNDS, VICTIMS = 25, 2
NUM_SHARDS, SHARD_BYTES, LIMIT = 24, 200_000, 8 * 200_000
MAX_WAIT_S = 10.0

RANK = """
import hashlib, json, random, sys, time
from pathlib import Path
from alexkit.pipeline.remote.cache import ShardCache
from alexkit.prep.storage import ObjectStore, StoreUrl

url, folder, limit, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
names = json.loads(sys.argv[5])
cache, store, draws = ShardCache(folder, limit_bytes=limit), ObjectStore(StoreUrl.parse(url)), random.Random(seed)
print("ready", flush=True)
longest, held = 0.0, []
while True:
    number = draws.randrange(len(names))
    sha256, size = names[number]
    start = time.monotonic()
    path = cache.fetch(sha256, size, lambda file: store.download(str(number), file, num_bytes=size, sha256=sha256))
    longest = max(longest, time.monotonic() - start)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    held = [one for one in held if one != sha256] + [sha256]
    while len(held) > 2:
        cache.release(held.pop(0))
    print(longest, flush=True)
"""


def test_fifty_kills_hold_nobody_up_and_leave_nothing(
    s3: str, tmp_path: Path, through: Callable[..., FaultProxy]
) -> None:
    store, draws = ObjectStore(StoreUrl.parse(s3)), random.Random(0)
    names = []
    for number in range(NUM_SHARDS):
        content = draws.randbytes(SHARD_BYTES)
        store.put_whole(str(number), content)
        names.append((hashlib.sha256(content).hexdigest(), SHARD_BYTES))
    through(latency_s=0.05)  # so that many are killed during a download

    def rank(seed: int) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", RANK, s3, str(tmp_path), str(LIMIT), str(seed), json.dumps(names)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    survivor = rank(-1)
    partial = 0
    try:
        for number in range(ROUNDS):
            victims = [rank(number * VICTIMS + i) for i in range(VICTIMS)]
            for victim in victims:
                assert victim.stdout is not None and victim.stdout.readline() == "ready\n"
                for _ in range(draws.randrange(4)):
                    victim.stdout.readline()
                victim.kill()
                victim.wait()
                victim.stdout.close()
            partial += len(list((tmp_path / "shards").glob("*.partial")))
        assert survivor.poll() is None
    finally:
        survivor.kill()
        out, _ = survivor.communicate()
    waits = [float(line) for line in out.splitlines()[1:-1]]
    cache = ShardCache(tmp_path, limit_bytes=LIMIT)
    print(f"{ROUNDS * VICTIMS} kills, {partial} partial files seen, longest wait of the survivor {max(waits):.2f} s")
    assert max(waits) < MAX_WAIT_S and partial
    assert not list((tmp_path / "shards").glob("*.partial"))
    for path in (tmp_path / "shards").glob("*.tar"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
    usage = cache.usage()
    assert usage.leased == 0 and usage.total <= LIMIT
    cache.close()
