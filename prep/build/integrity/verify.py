"""Check a shard set against its manifest at three depths: names and sizes, hashes, every image decoded.

If a shard's hash differs, its damaged samples are identified by their checksums in `index.bin`.
"""

import itertools
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Literal, get_args

from ...format.files import sha256_of
from ...format.manifest import QUARANTINE_NAME, STATISTICS_NAME, Manifest
from ...format.sample_index import SAMPLE_INDEX_NAME
from ...format.shard import index_path
from ...format.source_table import SOURCES_NAME
from ...storage import local_path
from ...workers import Engine, run_jobs_by
from .verify_shard import OTHER_HASH, Finding, VerifyJob, unreadable, verify_one_shard

Depth = Literal["quick", "hashes", "decode"]


def verify_set(
    folder: str | Path,
    *,
    depth: Depth = "hashes",
    num_workers: int = 1,
    engine: Engine = "local",
    on_progress: Callable[[int], None] = lambda done: None,
) -> list[Finding]:
    """Check the shard set in `folder`; returns the findings in the order of the manifest, empty if all is well.

    Args:
        folder: the shard set.
        depth: `quick` checks names and sizes, `hashes` every byte; `decode` also decodes every image.
        num_workers: worker processes.
        engine: what runs them; on a cluster, `folder` must be the same folder on all nodes.
        on_progress: called with the number of samples done so far.

    An unreadable file is a finding. Raises InputError if the manifest is missing or not valid, and OSError if it cannot
    be read, since the other files cannot be checked without it.
    """
    assert depth in get_args(Depth)
    folder = local_path(folder)
    manifest = Manifest.read(folder)
    findings = _check_names_and_sizes(folder, manifest)
    if depth == "quick":
        return findings
    findings += _check_small_files(folder, manifest)
    wrong_size = {finding.file for finding in findings}
    has_samples = bool(manifest.index_sha256) and SAMPLE_INDEX_NAME not in wrong_size
    firsts = itertools.accumulate((entry.num_samples for entry in manifest.shards), initial=0)
    jobs = [
        (
            VerifyJob(
                folder=folder,
                entry=entry,
                first_sample=first if has_samples else None,
                pixels=manifest.pixels,
                num_classes=len(manifest.classes),
                labels_are_indices=manifest.labels_are_indices,
                decode=depth == "decode",
            ),
            entry.num_samples,
        )
        for entry, first in zip(manifest.shards, firsts, strict=False)
        if not {entry.name, index_path(Path(entry.name)).name} & wrong_size
    ]
    running = run_jobs_by(engine, verify_one_shard, jobs, num_workers=num_workers, on_progress=on_progress)
    with closing(running) as results:
        for _, found in results:
            findings += found
    order = {entry.name: i for i, entry in enumerate(manifest.shards)}
    return sorted(findings, key=lambda finding: order.get(Path(finding.file).stem + ".tar", -1))


def _check_names_and_sizes(folder: Path, manifest: Manifest) -> list[Finding]:
    findings = []
    for entry in manifest.shards:
        path = folder / entry.name
        try:
            if (num_bytes := path.stat().st_size) != entry.num_bytes:
                findings.append(Finding(file=entry.name, problem=f"{num_bytes} bytes, expected {entry.num_bytes}"))
        except FileNotFoundError:
            findings.append(Finding(file=entry.name, problem="missing"))
        except OSError as error:
            findings.append(unreadable(path, error))
        if not index_path(path).exists():
            findings.append(Finding(file=index_path(path).name, problem="missing"))
    findings += [Finding(file=name, problem="missing") for name in _hashed(manifest) if not (folder / name).exists()]
    known = {entry.name for entry in manifest.shards}
    for path in sorted(folder.glob("*.tar")):
        if path.name not in known:
            findings.append(Finding(file=path.name, problem="not in the manifest, but readers of *.tar would read it"))
    return findings


def _hashed(manifest: Manifest) -> dict[str, str]:
    """The files beside the shards whose SHA-256 the manifest records, with those hashes; not every set has all."""
    hashes = {
        STATISTICS_NAME: manifest.statistics_sha256,
        SAMPLE_INDEX_NAME: manifest.index_sha256,
        SOURCES_NAME: manifest.sources_sha256,
    }
    return {name: digest for name, digest in hashes.items() if digest}


def _check_small_files(folder: Path, manifest: Manifest) -> list[Finding]:
    findings = []
    for name, digest in _hashed(manifest).items():
        try:
            if (folder / name).exists() and sha256_of(folder / name) != digest:
                findings.append(Finding(file=name, problem=OTHER_HASH))
        except OSError as error:
            findings.append(unreadable(folder / name, error))
    quarantine = folder / QUARANTINE_NAME
    lines = [json.dumps(asdict(bad)) for bad in manifest.quarantined]
    try:
        if not quarantine.exists() or quarantine.read_text(errors="replace").splitlines() != lines:
            findings.append(Finding(file=QUARANTINE_NAME, problem="differs from the manifest's list"))
    except OSError as error:
        findings.append(unreadable(quarantine, error))
    return findings
