"""Laws of the workers: every job once, whatever dies or hangs; one input never holds up the rest."""

import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from alexkit.prep.build import workers


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of tasks, importable here and in worker processes."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import worker_tasks

    return worker_tasks


def run(task: Callable[..., Any], jobs: list[Any], num_workers: int = 2) -> list[tuple[Any, Any]]:
    progress: list[int] = []
    results = list(
        workers.run_jobs(task, [(job, 5) for job in jobs], num_workers=num_workers, on_progress=progress.append)
    )
    assert progress[-1] == 5 * len(jobs) and all(0 <= done <= 5 * len(jobs) for done in progress)
    assert not multiprocessing.active_children()
    return results


@pytest.mark.parametrize("num_workers", [1, 3])
def test_every_job_is_done_once(tasks: ModuleType, num_workers: int) -> None:
    assert sorted(run(tasks.count, [1, 2, 3, 4, 5], num_workers)) == [(i, i) for i in (1, 2, 3, 4, 5)]


def test_an_input_that_kills_three_workers_is_condemned_with_the_reason(tasks: ModuleType) -> None:
    assert run(tasks.die_at_three, [5]) == [(5, {3: "3 workers died of it (killed by SIGKILL)"})]


def test_an_input_that_takes_too_long_is_condemned_with_the_reason(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "MAX_INPUT_SECONDS", 1.0)
    assert run(tasks.hang_at_three, [5]) == [(5, {3: "took more than 1 s, 3 times"})]


def test_a_job_that_loses_three_workers_for_no_one_input_is_an_error(tasks: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ChildProcessError, match=r"lost 3 worker processes, the last one killed by SIGKILL"):
        run(tasks.die_somewhere, [str(tmp_path / "counter")])
    assert (tmp_path / "counter").read_text() == "xxx" and not multiprocessing.active_children()


def test_an_input_cannot_take_more_than_its_memory(tasks: ModuleType) -> None:
    assert run(tasks.take_memory, [2**29])[0][1] == 2**29
    with pytest.raises(MemoryError):
        run(tasks.take_memory, [2**30 + 2**28])


def test_an_error_in_a_task_is_raised_and_ends_the_workers(tasks: ModuleType) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        run(tasks.fail, ["a", "b"])
    assert not multiprocessing.active_children()


def test_a_pause_of_the_whole_run_is_no_input_s_fault(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MAX_INPUT_SECONDS", 2.4)
    pauses = [2.5]

    def pause_once_at_three(done: int) -> None:
        if done == 3 and pauses:
            time.sleep(pauses.pop())  # as long as nobody looks, as after Ctrl-Z

    jobs = [(5, 5)]
    results = workers.run_jobs(tasks.slow_at_three, jobs, num_workers=1, on_progress=pause_once_at_three)
    assert list(results) == [(5, {})] and not pauses
