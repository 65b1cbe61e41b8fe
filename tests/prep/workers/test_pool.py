"""Laws of the workers: every job once, whatever dies or hangs; only what is an image's own doing is held against it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from alexkit.prep.workers import KeptWorkers, pool, ray_engine, run_jobs, start_ahead


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of tasks, importable here and in worker processes."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import worker_tasks

    return worker_tasks


def run(task: Callable[..., Any], jobs: list[Any], num_workers: int = 2) -> list[tuple[Any, Any]]:
    progress: list[int] = []
    results = list(run_jobs(task, [(job, 5) for job in jobs], num_workers=num_workers, on_progress=progress.append))
    assert progress[-1] == 5 * len(jobs) and all(0 <= done <= 5 * len(jobs) for done in progress)
    assert not multiprocessing.active_children()
    return results


@pytest.mark.parametrize("num_workers", [1, 3])
def test_every_job_is_done_once(tasks: ModuleType, num_workers: int) -> None:
    assert sorted(run(tasks.count, [1, 2, 3, 4, 5], num_workers)) == [(i, i) for i in (1, 2, 3, 4, 5)]


def test_workers_have_the_environment_of_the_process_that_starts_them(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also variables that were set or removed after the fork server started, such as credentials in a notebook."""
    start_ahead()
    monkeypatch.setenv("ALEXKIT_TEST_SET", "new")
    monkeypatch.delenv("HOME")
    jobs = [(name, 1) for name in ("ALEXKIT_TEST_SET", "HOME")]
    found = dict(run_jobs(tasks.variable, jobs, num_workers=1, on_progress=lambda n: None))
    assert found == {"ALEXKIT_TEST_SET": "new", "HOME": None}


def test_kept_workers_do_the_next_jobs_too_and_end_with_their_block(tasks: ModuleType) -> None:
    def processes(kept: KeptWorkers, jobs: list[int]) -> set[int]:
        done = run_jobs(
            tasks.name_process, [(i, i) for i in jobs], num_workers=2, on_progress=lambda n: None, kept=kept
        )
        return {process for _, process in done}

    start_ahead()
    with KeptWorkers() as kept:
        first = processes(kept, [1, 1, 1, 1])
        assert {child.pid for child in multiprocessing.active_children()} >= first
        assert processes(kept, [1]) <= {child.pid for child in multiprocessing.active_children()}
        assert len(multiprocessing.active_children()) == 2
        for child in multiprocessing.active_children():
            child.kill()
            child.join()
        assert len(processes(kept, [1, 1])) > 0, "those that died while they were idle are replaced"
    assert not multiprocessing.active_children()


def test_the_tasks_of_one_process_of_ray_share_a_child_that_works_where_each_of_them_does(
    tasks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with KeptWorkers() as kept:
        monkeypatch.setattr(ray_engine, "_kept", kept)
        first, second = (ray_engine._run_one(tasks.name_process, (0, 0), tmp_path) for _ in range(2))
        assert first == second != os.getpid()
        (tmp_path / "elsewhere").mkdir()
        assert ray_engine._run_one(tasks.name_folder, (0, 0), tmp_path / "elsewhere") == str(tmp_path / "elsewhere")
    assert not multiprocessing.active_children()


def test_workers_of_a_run_that_fails_are_not_kept(tasks: ModuleType) -> None:
    with KeptWorkers() as kept:
        with pytest.raises(OSError, match="No space left"):
            list(run_jobs(tasks.fail, [("disk", 1)], num_workers=1, on_progress=lambda n: None, kept=kept))
        assert not multiprocessing.active_children()


def test_a_temporary_folder_of_a_long_name_is_no_obstacle(tasks: ModuleType, tmp_path: Path) -> None:
    long = tmp_path / "temporary files of a user with much to say" / "and a second folder for each of the runs"
    long.mkdir(parents=True)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import worker_tasks\n"
        "from alexkit.prep.workers import run_jobs\n"
        "print([n for n, _ in run_jobs(worker_tasks.count, [(7, 5)], num_workers=1, on_progress=lambda done: None)])"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent)]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(long)}, capture_output=True, text=True)
    assert done.stdout == "[7]\n", done.stderr


def test_a_script_without_a_main_guard_is_told_of_the_guard_by_parent_and_worker(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom alexkit.prep.build.lock import exclusive_lock\n"
        "from alexkit.prep.workers import run_jobs\nimport worker_tasks\n"
        "with exclusive_lock(Path('lock'), doing='writing'):\n"
        "    print(list(run_jobs(worker_tasks.count, [(7, 5)], num_workers=1, on_progress=lambda done: None)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("alexkit.errors.InputError: ")]
    assert done.returncode == 1 and len(said) == 2, done.stderr
    for line, what in zip(
        said, ["was called while a worker process imported", "ended with code 1 while it"], strict=True
    ):
        assert what in line and str(script) in line and "'if __name__ == \"__main__\":'" in line
    guarded = (
        script.read_text().replace("with ", "if __name__ == '__main__':\n  with ").replace("    print", "      print")
    )
    script.write_text(guarded)
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "[(7, 7)]\n", done.stderr


def test_a_script_without_a_main_guard_is_told_also_where_the_worker_ends_before_it_gets_a_job(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from alexkit.prep.workers import pool\n"
        "class Slow(pool._Worker):\n"
        "    def __init__(self, context):\n"
        "        super().__init__(context)\n"
        "        self.process.join(60)\n"
        "pool._Worker = Slow\n"
        "list(pool.run_jobs(print, [(7, 5)], num_workers=1, on_progress=lambda done: None))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith("alexkit.errors.InputError: ")]
    assert len(said) == 2 and "ended with code 1 while it imported" in said[1], done.stderr


def test_an_input_that_crashes_its_decoder_is_poisoned_with_the_reason(tasks: ModuleType) -> None:
    assert run(tasks.crash_at_three, [5]) == [(5, {3: "its decoder crashes every time (killed by SIGSEGV)"})]


def test_only_cpu_time_counts_against_an_input(tasks: ModuleType) -> None:
    assert run(tasks.compute_at_three, [5]) == [(5, {3: "decoding takes more than 0 s of CPU time"})]


def test_a_worker_killed_from_outside_is_no_input_s_fault(tasks: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=r"lost 3 worker processes, the last one killed by SIGKILL"):
        run(tasks.die_at_three, [str(tmp_path / "counter")])
    assert (tmp_path / "counter").read_text() == "xxx" and not multiprocessing.active_children()


def test_a_source_that_does_not_answer_is_retried_and_then_ends_the_run(
    tasks: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "MAX_READ_SECONDS", 0.5)
    with pytest.raises(
        TimeoutError, match=r"the source does not respond: .* 3 times; once it responds, the same command"
    ):
        run(tasks.read_for_ever, [str(tmp_path / "counter")])
    assert (tmp_path / "counter").read_text() == "xxx" and not multiprocessing.active_children()


def test_writing_may_take_what_it_takes(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_READ_SECONDS", 0.2)
    assert run(tasks.write_slowly, [5]) == [(5, {})]


def test_the_memory_of_one_input_does_not_depend_on_those_before_it(tasks: ModuleType) -> None:
    kept = 2**28 - 2**20
    ((_, had),) = run(tasks.take_memory, [(kept, kept, kept, 2**30)])
    assert had == [True, True, True, False]


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_a_hard_limit_on_address_space_is_respected(tmp_path: Path) -> None:
    script = tmp_path / "limited.py"
    script.write_text(
        f"import resource, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import worker_tasks\n"
        "from alexkit.prep.workers import run_jobs\n"
        "if __name__ == '__main__':\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))\n"
        "    jobs = [((1, 2**30), 2)]\n"
        "    (result,) = run_jobs(worker_tasks.take_memory, jobs, num_workers=1, on_progress=lambda done: None)\n"
        "    print(result[1])\n"
    )
    # Root may raise a hard limit; users may not.
    drop = ["setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource"] if os.geteuid() == 0 else []
    done = subprocess.run([*drop, sys.executable, str(script)], capture_output=True, text=True)
    assert done.stdout == "[True, False]\n", done.stderr


def test_an_error_in_a_task_is_raised_and_ends_the_workers(tasks: ModuleType) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        run(tasks.fail, ["a", "b"])
    assert not multiprocessing.active_children()


def test_a_pause_of_the_whole_run_is_no_source_s_fault(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_READ_SECONDS", 2.4)
    pauses = [2.5]

    def pause_once_at_three(done: int) -> None:
        if done == 3 and pauses:
            time.sleep(pauses.pop())  # as long as nobody looks, as after Ctrl-Z

    results = run_jobs(tasks.read_three_slowly, [(5, 5)], num_workers=1, on_progress=pause_once_at_three)
    assert list(results) == [(5, {})] and not pauses


@pytest.mark.parametrize("num_killed", [2, 3])
def test_a_fork_server_that_is_killed_while_a_worker_starts_is_begun_again(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, num_killed: int
) -> None:
    """Its end is an EOFError at that moment, which nobody else may see."""
    killed = 0

    class Killed(pool._Worker):
        def __init__(self, context: Any) -> None:
            nonlocal killed
            killed += 1
            if killed <= num_killed:
                raise EOFError
            super().__init__(context)

    monkeypatch.setattr(pool, "_Worker", Killed)
    monkeypatch.setattr(pool, "SERVER_END_SECONDS", 0.1)
    if num_killed < pool.MAX_DEATHS:
        assert run(tasks.count, [5], num_workers=1) == [(5, 5)]
    else:
        with pytest.raises(ChildProcessError, match="no worker process could be started in 3 attempts"):
            run(tasks.count, [5], num_workers=1)


def test_a_fork_server_that_is_killed_in_a_run_costs_no_result(
    tasks: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    """The system takes its memory away after it answers no more; in between multiprocessing takes it for alive."""
    jobs = list(range(1, 17))
    expected = sorted(run(tasks.bytes_of, jobs))
    for kill_at in (1, 40, 77):
        killed = []

        def kill(done: int, kill_at: int = kill_at, killed: list[int] = killed) -> None:
            if done >= kill_at and not killed:
                killed.append(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]
                os.kill(killed[0], signal.SIGKILL)

        done = run_jobs(tasks.bytes_of, [(job, 5) for job in jobs], num_workers=2, on_progress=kill)
        assert sorted(done) == expected and killed
    assert "Traceback" not in capfd.readouterr().err


def test_a_fork_server_that_is_killed_while_a_worker_starts_is_not_the_scripts_fault(tmp_path: Path) -> None:
    """multiprocessing then knows no exit code and says 255; the worker was still importing the script."""
    script = tmp_path / "mine.py"
    script.write_text(
        "import os, signal, threading, time\n"
        "from multiprocessing import forkserver\n"
        "from pathlib import Path\n"
        "from alexkit.prep.workers import run_jobs\n"
        "begun = Path(__file__).with_name('begun')\n"
        "if __name__ == '__mp_main__' and not begun.exists():\n"
        "    server = os.getppid()\n"
        "    begun.touch()\n"
        "    while os.getppid() == server:\n"
        "        time.sleep(0.01)\n"
        "    time.sleep(3)\n"
        "def kill():\n"
        "    while not begun.exists():\n"
        "        time.sleep(0.01)\n"
        "    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)\n"
        "def double(job, heartbeat, poisoned):\n"
        "    return 2 * job\n"
        "if __name__ == '__main__':\n"
        "    threading.Thread(target=kill).start()\n"
        "    print(*run_jobs(double, [(21, 1)], num_workers=1, on_progress=lambda done: None))\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    assert run.stdout == "(21, 42)\n", run.stderr


def test_a_fork_server_that_does_not_answer_is_killed_and_another_begun(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "SERVER_END_SECONDS", 0.1)
    assert run(tasks.count, [5], num_workers=1) == [(5, 5)]
    first = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    pool._give_up_fork_server()
    assert run(tasks.count, [5], num_workers=1) == [(5, 5)]
    assert forkserver._forkserver._forkserver_pid != first  # type: ignore[attr-defined]
