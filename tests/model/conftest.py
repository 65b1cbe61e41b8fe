"""Real processes for tests, forked from one that has already imported torch, so that twenty cost no more than two."""

import multiprocessing
import os
import runpy
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

StartScript = Callable[..., BaseProcess]


@pytest.fixture(scope="session")
def start_script() -> StartScript:
    """`start_script(path, stderr=FILE, environment={...}, **arguments)` runs a script with `ARGUMENTS` as a global."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["alexkit.model.training.trainer", "alexkit.pipeline.loader", "alexkit.pipeline.backends.dali"]
    )

    def start(path: Path, *, stderr: Path, environment: dict[str, str] | None = None, **arguments: Any) -> BaseProcess:
        process = context.Process(
            target=runpy.run_path,
            args=(str(path),),
            kwargs={
                "init_globals": {"ARGUMENTS": arguments, "ENVIRONMENT": environment or {}, "STDERR": str(stderr)},
                "run_name": "__main__",
            },
        )
        process.start()
        return process

    os.environ.setdefault("OMP_NUM_THREADS", "2")
    return start
