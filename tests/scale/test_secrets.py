"""No secret is printed or written, whatever fails and whichever command meets it."""

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from fault_proxy import FaultProxy
from servers import ACCESS_KEY, SECRET_KEY
from sets import upload

from alexkit.cli.alexeval import alexeval
from alexkit.cli.alexprep import alexprep
from alexkit.cli.alextrain import alextrain
from alexkit.prep.storage import client

from ..conftest import write_shard_set

pytestmark = pytest.mark.slow

WRONG_SECRET = "wrongSecret0123456789wrongSecret012345678"
UNKNOWN_KEY = "AKIDUNKNOWNUNKNOWN00"
TOKEN = "sessionTokenNobodyMayPrint"
SECRETS = (ACCESS_KEY, SECRET_KEY, WRONG_SECRET, UNKNOWN_KEY, TOKEN, "Signature", "X-Amz", "Bearer")
COMMANDS = {
    "shard to a store": (alexprep, ["shard", "{photos}", "--out", "{url}/out", "--size", "32", "--workers", "1"]),
    "shard from a store": (alexprep, ["shard", "{url}/photos", "--out", "{folder}/out", "--size", "32"]),
    "verify": (alexprep, ["verify", "{url}/set"]),
    "pca": (alexprep, ["pca", "{url}/set"]),
    "inspect": (alexprep, ["inspect", "{url}/set"]),
    "alextrain": (
        alextrain,
        ["--shards", "{url}/set", "--cache", "{folder}/cache", "--runs", "{folder}/runs", "--recipe", "cifar10-19"],
    ),
    "alexeval": (alexeval, ["--shards", "{url}/set", "--cache", "{folder}/cache", "{folder}/runs/one"]),
}


@pytest.mark.parametrize("case", ["403", "404", "timeout", "bad signature", "session token"])
def test_no_secret_is_printed_or_written_by_any_command(
    s3: str,
    through: Callable[..., FaultProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: str,
    draw_photos: Path,
) -> None:
    if case != "404":
        for split in ("train", "val"):
            folder = write_shard_set(tmp_path / "local" / split, num_samples=8, size_px=32, split=split)
            upload(folder, f"{s3}/set/{split}")
    for name, value in {
        "403": {"AWS_ACCESS_KEY_ID": UNKNOWN_KEY},
        "bad signature": {"AWS_SECRET_ACCESS_KEY": WRONG_SECRET},
        "session token": {"AWS_SESSION_TOKEN": TOKEN, "AWS_SECRET_ACCESS_KEY": WRONG_SECRET},
    }.get(case, {}).items():
        monkeypatch.setenv(name, value)
    if case == "timeout":
        through(rate=1.0, kinds=("stall",), stall_s=2.0)
        monkeypatch.setattr(client, "READ_TIMEOUT_S", 0.3)
        monkeypatch.setattr("alexkit.prep.storage.store.ATTEMPTS", 2)
    monkeypatch.setattr("alexkit.prep.storage.store.FIRST_PAUSE_S", 0.01)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "runs" / "one").mkdir(parents=True)
    client._clients.clear()
    for name, (command, words) in COMMANDS.items():
        filled = [word.format(url=s3, folder=tmp_path, photos=draw_photos) for word in words]
        done = CliRunner().invoke(command, filled)
        if case == "404" and name == "shard to a store":
            continue  # there nothing is missing
        assert done.exit_code != 0, name
        text = done.output + done.stderr
        if done.exception is not None:
            text += "".join(traceback.format_exception(done.exception))
        assert text.strip(), name
        assert not [secret for secret in SECRETS if secret in text], (name, text)
        assert done.exception is None or isinstance(done.exception, SystemExit), (name, text)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in written:
        content = path.read_bytes()
        assert not [secret for secret in SECRETS[:5] if secret.encode() in content], path


@pytest.fixture
def draw_photos(tmp_path: Path) -> Path:
    """Three drawn photographs in class folders."""
    from PIL import Image

    from ..conftest import draw_image

    for i in range(3):
        path = tmp_path / "photos" / f"class{i}" / f"{i}.jpg"
        path.parent.mkdir(parents=True)
        Image.fromarray(draw_image(i, i, 48)).save(path)
    return tmp_path / "photos"
