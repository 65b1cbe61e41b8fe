"""Laws of a shard: plain enough for readers that know nothing of us, refused when damaged."""

import hashlib
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from alexkit.prep.format.shard import Sample, index_path, read_index, write_shard


def write(folder: Path, num_samples: int = 7) -> Path:
    path = folder / "train-00000.tar"
    samples = (Sample(key=f"k-{i}", image=bytes([i]) * (100 + 300 * i), label=i * 11) for i in range(num_samples))
    write_shard(path, samples, image_ext="raw")
    return path


def test_headers_are_those_of_tarfile(tmp_path: Path) -> None:
    path = write(tmp_path)
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        for i, member in enumerate(tar):
            if i % 2 == 0:  # a sample begins: its headers say what lies before it
                before = hashlib.sha256(content[: member.offset]).hexdigest()
            plain = tarfile.TarInfo(member.name)
            plain.uname = f"sha256-{before[:16]}"
            plain.size, plain.mode = member.size, 0o644
            assert content[member.offset : member.offset_data] == plain.tobuf(tarfile.USTAR_FORMAT)


def test_gnu_tar_lists_and_unpacks_it(tmp_path: Path) -> None:
    path = write(tmp_path)
    listed = subprocess.run(["tar", "-tf", path], check=True, capture_output=True, text=True)
    assert listed.stdout.split()[:4] == ["k-0.raw", "k-0.cls", "k-1.raw", "k-1.cls"] and not listed.stderr
    subprocess.run(["tar", "-xf", path, "-C", tmp_path], check=True)
    assert (tmp_path / "k-3.raw").read_bytes() == b"\3" * 1000 and (tmp_path / "k-3.cls").read_text() == "33"


def test_webdataset_reads_it(tmp_path: Path) -> None:
    import webdataset

    samples = list(webdataset.WebDataset(str(write(tmp_path)), shardshuffle=False))
    assert [(sample["__key__"], int(sample["cls"])) for sample in samples] == [(f"k-{i}", i * 11) for i in range(7)]
    assert samples[2]["raw"] == b"\2" * 700


def test_the_webdataset_reader_of_dali_reads_it_by_our_index(tmp_path: Path) -> None:
    from nvidia.dali import fn, pipeline_def

    path = write(tmp_path)

    @pipeline_def(batch_size=7, num_threads=1, device_id=None)
    def pipeline():  # type: ignore[no-untyped-def]
        return tuple(
            fn.readers.webdataset(
                paths=[str(path)],
                index_paths=[str(index_path(path))],
                ext=["raw", "cls"],
                missing_component_behavior="error",
            )
        )

    built = pipeline()
    built.build()
    images, labels = built.run()
    assert [bytes(np.asarray(images[i])) for i in range(7)] == [bytes([i]) * (100 + 300 * i) for i in range(7)]
    assert [bytes(np.asarray(labels[i])) for i in range(7)] == [b"%d" % (i * 11) for i in range(7)]


@pytest.mark.parametrize("num_samples", [0, 1, 7])
def test_the_index_gives_every_member_back(tmp_path: Path, num_samples: int) -> None:
    path = write(tmp_path, num_samples)
    content = path.read_bytes()
    index = read_index(index_path(path), shard_bytes=len(content))
    assert len(index) == num_samples
    for i in range(num_samples):
        start, size = index.image_offsets[i], index.image_sizes[i]
        assert content[start : start + size] == bytes([i]) * (100 + 300 * i)
        start, size = index.label_offsets[i], index.label_sizes[i]
        assert int(content[start : start + size]) == i * 11


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = write(tmp_path / "a"), write(tmp_path / "b")
    assert a.read_bytes() == b.read_bytes() and index_path(a).read_bytes() == index_path(b).read_bytes()


def test_an_interrupted_shard_leaves_nothing(tmp_path: Path) -> None:
    def samples():  # type: ignore[no-untyped-def]
        yield Sample(key="a", image=b"x", label=0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "x-00000.tar", samples(), image_ext="jpg")
    assert list(tmp_path.iterdir()) == []


def test_two_samples_with_one_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two samples have the key 'a'"):
        write_shard(tmp_path / "x.tar", [Sample(key="a", image=b"x", label=0)] * 2, image_ext="jpg")


@pytest.mark.parametrize("key", ["", "a.b", "a/b", "..", "ä", "x" * 91, "a b"])
def test_a_key_that_readers_could_misread_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="must be 1 to 90"):
        Sample(key=key, image=b"x", label=0)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: "", "expected 'v1.2 COUNT'"),
        (lambda text: text.replace("v1.2 7", "v1.2 8"), "promises 8 samples"),
        (lambda text: text.replace("cls 1536", "cls -5"), "expected 'raw OFFSET"),
        (lambda text: text.replace("raw 512 100", "raw 516 100"), "offset 516; expected a multiple of 512"),
        (lambda text: text.replace("k-1.cls", "k-2.cls"), "expected 'raw OFFSET"),
        (lambda text: text.replace("raw 512 100", "raw 512 99999999"), "lie outside the shard"),
        (lambda text: text.replace("raw 512 100", "raw 99999999999999999999 100"), "expected 'raw OFFSET"),
    ],
)
def test_a_damaged_index_is_refused_by_line(tmp_path: Path, damage, words: str) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path)
    index = index_path(path)
    index.write_text(damage(index.read_text()))
    with pytest.raises(ValueError, match=words) as caught:
        read_index(index, shard_bytes=path.stat().st_size)
    assert f"{index}:" in str(caught.value)
