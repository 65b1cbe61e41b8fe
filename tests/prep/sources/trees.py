"""Folders of files that hold their own names, for tests of what a source is."""

from pathlib import Path


def put(folder: Path, *names: str) -> Path:
    """Make the folder and these files in it; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder
