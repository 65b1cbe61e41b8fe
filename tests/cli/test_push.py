"""`alexprep push` against a stand-in for the Hub: what arrives, who can see it, what is said when it refuses."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..hub_stand_in import Hub, hub


@pytest.fixture(scope="module")
def shards(draw_shards: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    (folder / "train").symlink_to(draw_shards(num_samples=20))
    (folder / "val").symlink_to(draw_shards(num_samples=8, split="val"))
    return folder


def push(server: Hub, home: Path, *words: object, token: str = "right") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": server.address,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "alexkit", "prep", "push", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_all_files_of_all_splits_arrive_with_a_card_in_a_private_repository(shards: Path, tmp_path: Path) -> None:
    with hub() as server:
        done = push(server, tmp_path, shards, "me/drawn")
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"{server.address}/datasets/me/drawn"
        assert server.private == {"me/drawn": True}
        sent = {path: content for (_, path), content in server.files.items()}
        for split in ("train", "val"):
            names = {path.name for path in (shards / split).iterdir()}
            assert {path for path in sent if path.startswith(split)} == {f"{split}/{name}" for name in names}
            assert all(sent[f"{split}/{name}"] == (shards / split / name).read_bytes() for name in names)
        card = sent["README.md"].decode()
        assert "| train | 20 | 2 |" in card and "path: val/val-*.tar" in card and "4 classes: class 0, class 1" in card
        again = push(server, tmp_path, shards, "me/drawn", "--public")
        assert again.returncode == 0 and server.private == {"me/drawn": True}, "what is there stays as private as it is"


def test_public_is_asked_for(shards: Path, tmp_path: Path) -> None:
    with hub() as server:
        assert push(server, tmp_path, shards / "val", "me/seen", "--public").returncode == 0
        assert server.private == {"me/seen": False}


@pytest.mark.parametrize(
    ("name", "token", "words"),
    [("drawn", "right", "name a repository as ORG/NAME"), ("me/drawn", "wrong", "the Hub refused")],
)
def test_a_wrong_name_or_token_is_one_line(shards: Path, tmp_path: Path, name: str, token: str, words: str) -> None:
    with hub() as server:
        done = push(server, tmp_path, shards, name, token=token)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert server.files == {}
