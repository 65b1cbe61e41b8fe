"""Parquet files as Hugging Face packs images: a column of image bytes, optionally with paths, and a column of labels.

Images are structs of `bytes` and optionally `path`, or plain binary; a row with only a path is read from that file.
Labels are integers of any width, or names. The names and order of the classes come from the files' own metadata
(ClassLabel). Planning reads the columns of labels and paths, never an image; workers read single pages in place.
"""

from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path

from ....cores import num_cores
from ....errors import InputError
from ...storage.by_offset import address_of
from ...workers import run_jobs
from ..inputs import SourceSplit
from ..labels import LabeledImages, Unlabeled
from ..options import SourceOptions
from ..remarks import Remarks
from .rows import FileJob, FileRows, read_rows, where_of

_FILES_PER_WORKER = 8  # so that few files do not wait for many workers to start


def read_parquet(files: Sequence[Path], split: str, options: SourceOptions, remarks: Remarks) -> SourceSplit:
    """The split in `files`.

    Raises InputError, naming the file, if it is not parquet or not complete, has no image or label column or several,
    uses an unsupported codec or encoding, or names other classes than the files before; and, naming the row, for a
    missing label or one that is not a class. Raises ChildProcessError if workers are killed from outside, and Unlabeled
    if every label is missing or -1, as in the test splits of Hugging Face.
    """
    rows = LabeledImages()
    first: tuple[Path, tuple[str, ...] | None] | None = None
    with closing(_contents(files, options)) as contents:  # stops the workers, even if we raise
        for path, content in zip(files, contents, strict=True):
            for note in content.notes:
                remarks.note(note)
            first = first or (path, content.class_ids)
            if content.class_ids != first[1]:
                raise InputError(
                    f"{path}: names other classes than {first[0].name}; put files of different data sets into "
                    "different folders"
                )
            for label, image in content.rows:
                rows.add(label, image)
    if first is None or not rows:
        raise InputError(f"{files[0].parent if files else split}: parquet files without rows; download them again")
    table = first[1]
    if all(label is None or label == -1 for label in rows.labels()):
        if not options.unlabeled:
            raise Unlabeled(f"{first[0]}: no row has a label; pass --unlabeled to store the images without labels")
        rows.forget_labels()
        table = None
    return rows.split(split, where_of, table=table)


def _contents(files: Sequence[Path], options: SourceOptions) -> Generator[FileRows]:
    """The contents of every file, in order; opened by workers, since a damaged footer can crash a process."""
    jobs = [(FileJob(path, address_of(path), options), 1) for path in files]
    num_workers = min(num_cores(), -(-len(files) // _FILES_PER_WORKER))
    early: dict[Path, FileRows] = {}
    coming = iter(files)
    path = next(coming, None)
    with closing(run_jobs(read_rows, jobs, num_workers=num_workers, on_progress=lambda done: None)) as results:
        for job, content in results:
            early[job.path] = content
            while path in early:
                yield early.pop(path)
                path = next(coming, None)
