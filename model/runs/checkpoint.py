"""Checkpoints: folders of safetensors and JSON that appear whole or not at all. Nothing in them is ever executed.

`step-00000120/` holds `weights.safetensors` and `momentum.safetensors` (whole layers by the names of `network`) and
`state.json`: the step, the run's progress, the loader's state, and the SHA-256 of all three. A checkpoint that does not
match its hashes is passed over for the one before.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import InputError
from ...prep.format.files import sync_folder, whole_file
from .checked import in_words

STATE_VERSION = 3
WEIGHTS, MOMENTUM, STATE = "weights.safetensors", "momentum.safetensors", "state.json"
MAX_STATE_BYTES = 2**24
NUM_KEPT = 2
_NAME = re.compile(r"step-\d{8,}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint on the disk whose files have been seen to match their hashes."""

    folder: Path
    step: int
    state: dict[str, Any]

    def weights(self) -> dict[str, Tensor]:
        """Whole weights by name, float32 on the CPU."""
        return load_tensors(self.folder / WEIGHTS)

    def momentum(self) -> dict[str, Tensor]:
        """Whole momentum buffers by name, float32 on the CPU."""
        return load_tensors(self.folder / MOMENTUM)


class VersionError(InputError):
    """A checkpoint that another version of alexkit wrote."""


def save_checkpoint(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    momentum: Mapping[str, Tensor],
    state: Mapping[str, Any],
    keep: int | None = None,
) -> None:
    """Write `folder/step-N`, then remove all but it, the one before and the one of step `keep`.

    Later ones are those of a future that is given up: they were damaged, so the run went on from an earlier one.
    OSError names the file that could not be written, and leaves no half of a checkpoint.
    """
    final = folder / f"step-{step:08d}"
    partial = final.with_suffix(".partial")
    for unfinished in folder.glob("step-*.partial"):  # of a run that was killed while it saved
        shutil.rmtree(unfinished)
    partial.mkdir(parents=True)
    try:
        _write(partial, step, weights, momentum, state)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(final, ignore_errors=True)  # a damaged one of the same step
    partial.replace(final)
    sync_folder(folder)
    there = checkpoint_folders(folder)
    kept = [path for path in there if step_of(path) <= step][-NUM_KEPT:]
    for other in there:
        if other not in kept and step_of(other) != keep:
            shutil.rmtree(other)


def _write(
    partial: Path, step: int, weights: Mapping[str, Tensor], momentum: Mapping[str, Tensor], state: Mapping[str, Any]
) -> None:
    hashes = {
        WEIGHTS: _save_tensors(partial / WEIGHTS, weights),
        MOMENTUM: _save_tensors(partial / MOMENTUM, momentum),
    }
    content = {"version": STATE_VERSION, "step": step, **state}
    text = json.dumps({**content, "sha256": {**hashes, STATE: _sha256_of_state(content)}}, indent=1)
    with whole_file(partial / STATE) as file:
        file.write(text.encode())


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose hashes match, None when there is none; damaged ones are named in a warning.

    Raises InputError when all are damaged and VersionError for one of another version, so that such a run is not begun
    anew over its checkpoints.
    """
    candidates = checkpoint_folders(folder)
    for candidate in reversed(candidates):
        try:
            return read_checkpoint(candidate)
        except VersionError:
            raise
        except (OSError, ValueError) as error:
            log.warning("%s; passing over this checkpoint for the one before", error)
    if candidates:
        raise InputError(
            f"{folder}: all checkpoints are damaged ({', '.join(path.name for path in candidates)}); restore one, or "
            "begin anew with 'alextrain --restart'"
        )
    return None


def read_checkpoint(folder: Path) -> Checkpoint:
    """Check one checkpoint's hashes and read its state.

    InputError names the file that does not match, VersionError the version found and expected.
    """
    path = folder / STATE
    if path.stat().st_size > MAX_STATE_BYTES:
        raise InputError(f"{path}: larger than {MAX_STATE_BYTES} bytes; this is no checkpoint of ours")
    try:
        state = json.loads(path.read_bytes())
        version, step, hashes = state["version"], int(state["step"]), dict(state.pop("sha256"))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({in_words(error)})") from None
    if version != STATE_VERSION:
        raise VersionError(
            f"{path}: version {version!r:.80}, this alexkit reads {STATE_VERSION}; continue with the one that "
            "wrote it, or train under another --name"
        )
    if hashes.get(STATE) != _sha256_of_state(state):
        raise InputError(f"{path}: damaged, its content does not have the SHA-256 it names")
    for name in (WEIGHTS, MOMENTUM):
        if _sha256(folder / name) != hashes.get(name):
            raise InputError(f"{folder / name}: its SHA-256 is not the one in {STATE}")
    return Checkpoint(folder=folder, step=step, state=state)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; InputError names the file when it is anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from None


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode  # as the umask has it; save_file gives 0600
    try:
        save_file({name: x.detach().cpu().contiguous() for name, x in tensors.items()}, path)
    except SafetensorError as error:
        code = re.search(r"(?:code: |os error )(\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from None
    path.chmod(mode)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return _sha256(path)


def _sha256_of_state(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_folders(folder: Path) -> list[Path]:
    """What lies in `folder` as checkpoints, whole or damaged, oldest first."""
    paths = (path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir())
    return sorted(paths, key=step_of)


def step_of(folder: Path) -> int:
    """The finished steps of a checkpoint, by its folder's name."""
    return int(folder.name.removeprefix("step-"))
