"""Checkpoints: folders of safetensors and JSON files, written atomically. Nothing in them is ever executed.

`step-00000120/` holds `weights.safetensors` and `momentum.safetensors` (unsharded tensors, named as in `network`) and
`state.json`: the step, the run's progress, the loader's state, and the SHA-256 of all three files. A checkpoint that
does not match its hashes is skipped in favor of the previous one.
"""

import errno
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
from ...prep.format.files import free_bytes, sync_folder, whole_file
from .checked import in_words

STATE_VERSION = 3
WEIGHTS, MOMENTUM, STATE = "weights.safetensors", "momentum.safetensors", "state.json"
MAX_STATE_BYTES = 2**24
NUM_KEPT = 2
_NAME = re.compile(r"step-\d{8,}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint on disk whose files match their hashes."""

    folder: Path
    step: int
    state: dict[str, Any]

    def weights(self) -> dict[str, Tensor]:
        """Unsharded weights by name, float32 on the CPU."""
        return load_tensors(self.folder / WEIGHTS)

    def momentum(self) -> dict[str, Tensor]:
        """Unsharded momentum buffers by name, float32 on the CPU."""
        return load_tensors(self.folder / MOMENTUM)


class VersionError(InputError):
    """A checkpoint whose format version this alexkit does not read."""


def save_checkpoint(
    folder: Path,
    step: int,
    weights: Mapping[str, Tensor],
    momentum: Mapping[str, Tensor],
    state: Mapping[str, Any],
    keep: int | None = None,
) -> None:
    """Write `folder/step-N`, then remove all checkpoints except this one, the previous one and that of step `keep`.

    Checkpoints of later steps are removed too: they were damaged, so the run was resumed from an earlier one. Raises
    OSError naming a file that could not be written; no partial checkpoint is left behind. `folder` must exist: one that
    was moved, removed or unmounted during the run is not made again, with half a run in it.
    """
    if not folder.is_dir():
        words = "no longer there, so this run ends; if it was moved or unmounted, resume where its checkpoints are"
        raise FileNotFoundError(errno.ENOENT, words, str(folder))
    final = folder / f"step-{step:08d}"
    partial = final.with_suffix(".partial")
    for unfinished in folder.glob("step-*.partial"):  # left by a run that was killed while saving
        shutil.rmtree(unfinished)
    partial.mkdir()
    try:
        _write(partial, step, weights, momentum, state)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(final, ignore_errors=True)  # a damaged checkpoint of the same step
    partial.replace(final)
    sync_folder(folder)
    there = checkpoint_folders(folder)
    kept = [path for path in there if step_of(path) <= step][-NUM_KEPT:]
    for other in there:
        if other not in kept and step_of(other) != keep:
            shutil.rmtree(other)


def require_room(folder: Path, num_parameters: int) -> None:
    """Raise InputError if the disk cannot hold all checkpoints that `folder` will have at a time.

    These are the last two, the best, and the one being written, each with weights and momentum in float32.
    """
    more = NUM_KEPT + 2 - len(checkpoint_folders(folder))
    needed, free = more * 8 * num_parameters, free_bytes(folder)
    if needed > free:
        raise InputError(
            f"{folder}: {free / 1e6:,.0f} MB free, but {needed / 1e6:,.0f} MB needed for {more} more checkpoints; make "
            "room, or choose another --runs"
        )


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
    """The newest checkpoint whose hashes match, or None if there are no checkpoints; damaged ones are logged.

    Raises InputError when all are damaged, and VersionError for one of another version, so that such a run is not
    restarted from scratch over its checkpoints.
    """
    candidates = checkpoint_folders(folder)
    for candidate in reversed(candidates):
        try:
            return read_checkpoint(candidate)
        except VersionError:
            raise
        except (OSError, ValueError) as error:
            log.warning("%s; skipping this checkpoint and trying the previous one", error)
    if candidates:
        raise InputError(
            f"{folder}: all checkpoints are damaged ({', '.join(path.name for path in candidates)}); restore one, or "
            "start over with 'alextrain --restart'"
        )
    return None


def read_checkpoint(folder: Path) -> Checkpoint:
    """Check one checkpoint's hashes and read its state.

    Raises InputError naming the file that does not match, or VersionError naming the version found and expected.
    """
    path = folder / STATE
    if path.stat().st_size > MAX_STATE_BYTES:
        raise InputError(f"{path}: larger than {MAX_STATE_BYTES} bytes, so it was not written by alexkit")
    try:
        state = json.loads(path.read_bytes())
        version, step, hashes = state["version"], int(state["step"]), dict(state.pop("sha256"))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}: damaged ({in_words(error)})") from None
    if version != STATE_VERSION:
        raise VersionError(
            f"{path}: version {version!r:.80}, but this alexkit reads version {STATE_VERSION}; continue with the "
            "alexkit that wrote it, or train under another --name"
        )
    if hashes.get(STATE) != _sha256_of_state(state):
        raise InputError(f"{path}: damaged; its content does not match the SHA-256 stored in it")
    for name in (WEIGHTS, MOMENTUM):
        if _sha256(folder / name) != hashes.get(name):
            raise InputError(f"{folder / name}: damaged; its SHA-256 is not the one stored in {STATE}")
    return Checkpoint(folder=folder, step=step, state=state)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Load all tensors of a safetensors file. Raises InputError naming the file if it is anything else."""
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
    mode = path.stat().st_mode  # follows the umask; save_file would set 0600
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
    """The checkpoint folders in `folder`, intact or damaged, oldest first."""
    paths = (path for path in folder.glob("step-*") if _NAME.fullmatch(path.name) and path.is_dir())
    return sorted(paths, key=step_of)


def step_of(folder: Path) -> int:
    """The number of finished steps, from the name of a checkpoint's folder."""
    return int(folder.name.removeprefix("step-"))
