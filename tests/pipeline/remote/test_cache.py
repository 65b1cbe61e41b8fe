"""A cache provides complete, verified shards, stays below its limit, and survives processes that die."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from alexkit.errors import InputError
from alexkit.pipeline.remote import unsynced
from alexkit.pipeline.remote.cache import ShardCache
from alexkit.pipeline.remote.unsynced import Unsynced

SIZE = 1000


def content(number: int) -> bytes:
    return bytes([number]) * SIZE


def name_of(number: int) -> str:
    return hashlib.sha256(content(number)).hexdigest()


class Downloads:
    """A store of numbered shards that counts fetches."""

    def __init__(self) -> None:
        self.fetched: list[int] = []

    def fetch(self, cache: ShardCache, number: int, **settings: float) -> Path:
        def download(file: BinaryIO) -> None:
            self.fetched.append(number)
            file.write(content(number))

        return cache.fetch(name_of(number), SIZE, download, **settings)


def tars(folder: Path) -> set[str]:
    return {path.name for path in (folder / "shards").iterdir()}


def test_a_shard_is_fetched_once_and_is_whole(tmp_path: Path) -> None:
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=3 * SIZE)
    path = store.fetch(cache, 1)
    assert path.read_bytes() == content(1) and path.name == f"{name_of(1)}.tar"
    assert store.fetch(cache, 1) == path and store.fetched == [1]
    cache.close()
    later = ShardCache(tmp_path, limit_bytes=3 * SIZE)
    assert store.fetch(later, 1) == path and store.fetched == [1]
    later.close()


def test_the_least_recently_used_shard_goes_first_and_a_leased_one_never(tmp_path: Path) -> None:
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=3 * SIZE)
    for number in (1, 2, 3):
        os.utime(store.fetch(cache, number), ns=(number, number))
    cache.release(name_of(2))
    cache.release(name_of(3))
    store.fetch(cache, 4)
    assert tars(tmp_path) == {f"{name_of(number)}.tar" for number in (1, 3, 4)}
    assert cache.usage().total == 3 * SIZE
    cache.close()


def test_a_full_cache_reports_its_sizes(tmp_path: Path) -> None:
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=2 * SIZE)
    store.fetch(cache, 1)
    store.fetch(cache, 2)
    with pytest.raises(
        OSError, match="no room for a shard of 1000 bytes within the limit of 2000: 2000 bytes are in use"
    ):
        store.fetch(cache, 3, wait_s=0)
    assert tars(tmp_path) == {f"{name_of(number)}.tar" for number in (1, 2)}
    cache.close()


def test_a_fetch_waits_for_room(tmp_path: Path) -> None:
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=2 * SIZE)
    other = ShardCache(tmp_path, limit_bytes=2 * SIZE)
    store.fetch(cache, 1)
    store.fetch(other, 2)
    threading.Timer(0.3, other.close).start()
    assert store.fetch(cache, 3).read_bytes() == content(3)
    cache.close()


def test_what_is_deleted_while_it_is_in_use_still_counts(tmp_path: Path) -> None:
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=2 * SIZE)
    store.fetch(cache, 1).unlink()
    store.fetch(cache, 2)
    assert cache.usage().total == 2 * SIZE
    with pytest.raises(OSError, match="no room"):
        store.fetch(cache, 3, wait_s=0)
    cache.close()


def test_a_download_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, limit_bytes=2 * SIZE)

    def download(file: BinaryIO) -> None:
        file.write(b"half")
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        cache.fetch(name_of(1), SIZE, download)
    assert tars(tmp_path) == set() and cache.usage().total == 0
    cache.close()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards/mine.tar").write_bytes(bytes(SIZE))
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=SIZE)
    for number in range(4):
        store.fetch(cache, number)
        cache.release(name_of(number))
    assert (tmp_path / "shards/mine.tar").exists() and len(tars(tmp_path)) == 2
    cache.close()


def test_many_threads_fetch_each_shard_once(tmp_path: Path) -> None:
    store, caches = Downloads(), [ShardCache(tmp_path, limit_bytes=8 * SIZE) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda cache=cache: [store.fetch(cache, number) for number in range(8)])
        for cache in caches
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.fetched) == list(range(8))
    for cache in caches:
        cache.close()


VICTIM = """
import sys, time
from pathlib import Path
from alexkit.pipeline.remote.cache import ShardCache
cache = ShardCache(Path(sys.argv[1]), limit_bytes=2000)
cache.fetch("a" * 64, 1000, lambda file: file.write(bytes(1000)))
def download(file):
    file.write(bytes(500))
    file.flush()
    print("half", flush=True)
    time.sleep(60)
cache.fetch("b" * 64, 1000, download)
"""


def test_what_a_killed_process_was_writing_and_leased_is_free_again(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", VICTIM, str(tmp_path)], stdout=subprocess.PIPE, text=True) as victim:
        assert victim.stdout is not None and victim.stdout.readline() == "half\n"
        running = ShardCache(tmp_path, limit_bytes=2000)
        assert running.usage().leased == 2000 and f"{'b' * 64}.partial" in tars(tmp_path)
        victim.send_signal(signal.SIGKILL)
    store = Downloads()
    running.fetch("b" * 64, SIZE, lambda file: file.write(bytes(SIZE)) and None)  # taken over, not waited for
    running.close()
    cache = ShardCache(tmp_path, limit_bytes=2000)
    assert not any(name.endswith(".partial") for name in tars(tmp_path)) and cache.usage().leased == 0
    store.fetch(cache, 1)
    store.fetch(cache, 2)
    assert tars(tmp_path) == {f"{name_of(1)}.tar", f"{name_of(2)}.tar"}
    cache.close()


def test_a_shard_that_a_crash_may_have_emptied_is_fetched_again_and_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    is_slow = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), is_slow.wait(10)))
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=9 * SIZE)
    for number in (1, 2):  # neither waits for the disk
        store.fetch(cache, number)
    marks = tmp_path / "unsynced"
    assert {mark.name for mark in marks.iterdir()} == {name_of(1), name_of(2)}
    is_slow.set()
    for _ in range(1000):
        if not any(marks.iterdir()):
            break
        time.sleep(0.01)
    cache.close()
    assert len(synced) == 2 and not any(marks.iterdir())

    (marks / name_of(2)).write_text("another boot")
    later = ShardCache(tmp_path, limit_bytes=9 * SIZE)
    assert tars(tmp_path) == {f"{name_of(1)}.tar"} and not any(marks.iterdir())
    later.close()


def test_what_a_process_of_this_boot_left_unsynced_is_kept_and_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Unsynced, "sync_later", lambda *rest: None)
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=9 * SIZE)
    store.fetch(cache, 1)
    cache.close()
    monkeypatch.undo()
    later = ShardCache(tmp_path, limit_bytes=9 * SIZE)
    store.fetch(later, 1)
    for _ in range(1000):
        if not any((tmp_path / "unsynced").iterdir()):
            break
        time.sleep(0.01)
    assert store.fetched == [1] and not any((tmp_path / "unsynced").iterdir())
    later.close()


def test_a_shard_is_synced_first_if_boots_cannot_be_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(unsynced, "_BOOT_ID", tmp_path / "none")
    monkeypatch.setattr(os, "fsync", synced.append)
    store, cache = Downloads(), ShardCache(tmp_path / "cache", limit_bytes=9 * SIZE)
    store.fetch(cache, 1)
    assert len(synced) == 1 and not any((tmp_path / "cache/unsynced").iterdir())
    cache.close()


def test_fetching_looks_at_no_other_shard_while_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=5 * SIZE)
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", lambda folder: pytest.fail("looked through the cache"))
        for number in range(5):
            store.fetch(cache, number)
    for number in range(5):
        cache.release(name_of(number))
    store.fetch(cache, 5)
    assert cache.usage().shards == 5 * SIZE, "counted when the limit is reached"
    cache.close()


def test_a_lease_lists_what_is_held_however_long_its_process_runs(tmp_path: Path) -> None:
    store, cache = Downloads(), ShardCache(tmp_path, limit_bytes=5 * SIZE)
    for number in range(3):
        store.fetch(cache, number)
    for _ in range(400):
        cache.release(name_of(0))
        store.fetch(cache, 0)
    (lease,) = (tmp_path / "leases").iterdir()
    assert lease.stat().st_size < 30_000
    cache.release(name_of(1))
    other = ShardCache(tmp_path, limit_bytes=3 * SIZE)
    store.fetch(other, 4)
    assert tars(tmp_path) == {f"{name_of(number)}.tar" for number in (0, 2, 4)}
    other.close()
    cache.close()


def test_a_limit_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cache limit must be at least 1 byte"):
        ShardCache(tmp_path, limit_bytes=0)
