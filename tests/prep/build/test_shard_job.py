"""Laws of one shard's work: a source that fails is asked again, and never costs an image."""

import errno
import multiprocessing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from alexkit.prep import PixelOptions
from alexkit.prep.build import shard_job
from alexkit.prep.build.shard_job import ShardJob, write_one_shard
from alexkit.prep.images import prepare
from alexkit.prep.images.decoded import Decoded
from alexkit.prep.images.limits import DecodeOptions
from alexkit.prep.sources import reader
from alexkit.prep.storage import CredentialsError
from alexkit.prep.workers import Heartbeat
from alexkit.prep.workers.heartbeat import new_state

from ..conftest import drawn_jpeg


@dataclass
class Failing:
    """An input whose first reads fail."""

    failures: list[int]
    content: bytes = b""
    name: str = "cat/1.jpg"
    label: int = 0
    num_bytes: int = 1
    extras: dict[str, bytes] = field(default_factory=dict)
    container: str = "cat/1.jpg"

    def read(self) -> bytes:
        if self.failures:
            raise OSError(self.failures.pop(0), "it fails")
        return self.content

    def read_extras(self) -> dict[str, bytes]:
        return {}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "RETRY_SECONDS", (0.0, 0.0, 0.0))


def write(folder: Path, *images: Failing, lenient: bool = False) -> shard_job.ShardResult:
    pixels = PixelOptions(size_px=32, lenient=lenient)
    job = ShardJob(path=folder / "s.tar", number=0, first_position=0, images=images, pixels=pixels)
    heartbeat = Heartbeat(new_state(multiprocessing.get_context("spawn")))
    return write_one_shard(job, heartbeat, {})


def test_a_source_that_fails_for_a_while_costs_nothing(tmp_path: Path) -> None:
    result = write(tmp_path, Failing([errno.EIO, errno.ETIMEDOUT, errno.ESTALE], drawn_jpeg(1)))
    assert result.written and result.written.entry.num_samples == 1 and not result.quarantined


def test_a_source_that_goes_on_failing_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"the source fails: it fails; when it works again, continue .*cat/1\.jpg"):
        write(tmp_path, Failing([errno.EIO] * 4, drawn_jpeg(1)))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR])
def test_an_input_that_is_not_there_or_not_ours_is_quarantined(tmp_path: Path, number: int) -> None:
    result = write(tmp_path, Failing([number] * 9, drawn_jpeg(1)), Failing([], drawn_jpeg(2), name="cat/2.jpg"))
    assert [bad.reason for bad in result.quarantined] == ["cannot be read: it fails"]


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES])
@pytest.mark.parametrize("num_read", [0, 3])
def test_where_no_other_input_can_be_read_any_more_it_is_the_source(tmp_path: Path, number: int, num_read: int) -> None:
    """A disk that was taken away, or a ticket of a network disk that expired, after `num_read` images."""
    disk = tmp_path / "disk"
    disk.mkdir()
    gone: list[int] = []

    @dataclass
    class OnDisk(Failing):
        def read(self) -> bytes:
            if len(gone) >= num_read:
                raise OSError(number, "it fails")
            gone.append(number)
            return self.content

    images = [OnDisk([], drawn_jpeg(i), f"cat/{i}.jpg", container=str(disk / f"cat/{i}.jpg")) for i in range(12)]
    with pytest.raises(OSError, match="the source fails: it fails, and other images cannot be read either; when"):
        write(tmp_path, *images)


def test_of_a_small_job_the_folders_tell_whether_the_disk_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "cat"
    image = Failing([errno.EACCES] * 99, b"", container=str(folder / "1.jpg"))
    with pytest.raises(OSError, match="the source fails"):
        write(tmp_path, image)
    folder.mkdir()
    assert [bad.reason for bad in write(tmp_path, image).quarantined] == ["cannot be read: it fails"]


def test_credentials_that_a_store_refuses_are_no_fault_of_an_image(tmp_path: Path) -> None:
    class Refused(Failing):
        def read(self) -> bytes:
            raise CredentialsError(errno.EACCES, "access denied", "s3://b/cat/1.jpg")

    with pytest.raises(OSError, match="the source fails: access denied; when it works again, continue"):
        write(tmp_path, Refused([]), Failing([], drawn_jpeg(2), name="cat/2.jpg"))


def test_a_patched_image_is_named_with_its_rows_and_counts_as_bad(tmp_path: Path) -> None:
    whole = drawn_jpeg(1, width=64, height=64, quality=95)
    result = write(tmp_path, Failing([], whole[: len(whole) * 3 // 4]), lenient=True)
    (patched,) = result.patched
    assert patched.source == "cat/1.jpg" and 0 < patched.decoded_rows < 1
    (bad,) = result.bad
    assert bad.reason.startswith("damaged, kept by --lenient with ") and not result.quarantined


@pytest.mark.parametrize("error", [RuntimeError("no\nmore"), ZeroDivisionError("no more"), OSError("no more")])
def test_what_nobody_foresaw_of_an_image_is_a_line_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    decode = prepare.decode_image

    def failing(data: bytes, options: DecodeOptions) -> Decoded:
        if data == b"odd":
            raise error
        return decode(data, options)

    monkeypatch.setattr(prepare, "decode_image", failing)
    result = write(tmp_path, Failing([], b"odd"), Failing([], drawn_jpeg(2), name="cat/2.jpg"))
    (bad,) = result.quarantined
    assert bad.source == "cat/1.jpg" and bad.reason.startswith(f"{type(error).__name__}: no more; ")
    assert result.written and result.written.entry.num_samples == 1


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), ModuleNotFoundError("cv2"), KeyboardInterrupt()])
def test_what_is_the_machines_fault_costs_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def failing(data: bytes, options: DecodeOptions) -> Decoded:
        raise error

    monkeypatch.setattr(prepare, "decode_image", failing)
    with pytest.raises(type(error)):
        write(tmp_path, Failing([], b"odd"))
