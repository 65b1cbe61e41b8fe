"""Formats that are recognized by file names but not read: the error says how to convert them."""

from pathlib import Path

from ...errors import InputError
from .arrays.formats import arrays_among
from .lmdb.split import DATA_NAME, is_of_caffe

COMPRESSED = {
    ".gz": "gunzip --keep",
    ".zst": "unzstd --keep",
    ".xz": "unxz --keep",
    ".bz2": "bunzip2 --keep",
    ".lz4": "lz4 -d -m",
}
"""The command that decompresses a tar, by its last suffix."""

# Patterns that must all match in the folder; the format's name; how to convert it.
_FORMATS = (
    (("index.json", "*.mds*"), "MosaicML shards (MDS)", "write them as WebDataset with streaming and webdataset"),
    (("index.json", "chunk-*.bin"), "litData chunks", "write them as WebDataset with litdata and webdataset"),
    (("data.mdb",), "an LMDB database that is not of Caffe", "write its images to class folders, one file each"),
    (("*.lmdb",), "an LMDB database that is not of Caffe", "write its images to class folders, one file each"),
    (("*.array_record*",), "ArrayRecord files of TFDS", "convert them: tfds convert_format --out_file_format tfrecord"),
    (("*.riegeli*",), "Riegeli files of TFDS", "convert them: tfds convert_format --out_file_format tfrecord"),
    (
        ("*.arrow",),
        "Arrow files of Hugging Face's save_to_disk",
        "write them as parquet: datasets.load_from_disk(FOLDER)[SPLIT].to_parquet('train-00000-of-00001.parquet')",
    ),
    (
        ("dataset_dict.json",),
        "Arrow files of Hugging Face's save_to_disk",
        "write them as parquet: datasets.load_from_disk(FOLDER)[SPLIT].to_parquet('train-00000-of-00001.parquet')",
    ),
    (("*.beton",), "an FFCV file", "shard the images that it was made of"),
    (("*.h5",), "HDF5 files", "write their images to class folders, one PNG each"),
    (("*.hdf5",), "HDF5 files", "write their images to class folders, one PNG each"),
    (("*.npz",), "NumPy arrays", ""),
    (
        ("*.npy",),
        "NumPy arrays",
        "write them as train_images and train_labels to one .npz file, or their images to class folders, one PNG each",
    ),
    *(
        ((pattern,), "the archive of a data set", f"unpack it in place: tar -xf {pattern}")
        for pattern in ("cifar-*.tar.gz", "stl10*.tar.gz")
    ),
    *(
        ((f"*.tar{suffix}",), "compressed tars", f"unpack them in place: {command} *.tar{suffix}")
        for suffix, command in COMPRESSED.items()
    ),
    (("*.tgz",), "compressed tars", "unpack them in place: gunzip --keep *.tgz"),
)


def known_format(folder: Path) -> tuple[str, str, str] | None:
    """The format in `folder`: its name, an example file and how to convert it; None if there is none of these."""
    for patterns, what, way_out in _FORMATS:
        found = [path for pattern in patterns for path in sorted(folder.glob(pattern))[:1] if "devkit" not in path.name]
        if len(found) == len(patterns):
            return what, found[-1].name, way_out
    return None


def refuse_known_format(folder: Path) -> None:
    """Raise InputError, saying how to read or convert it, if `folder` holds one of these formats."""
    for database in sorted((*folder.glob(DATA_NAME), *folder.glob("*.lmdb"))):
        if database.is_file() and is_of_caffe(database):
            raise InputError(
                f"{folder}: holds an LMDB database of Caffe ({database.name}), a data set by itself; pass this folder "
                "to alexprep shard"
            )
    arrays = arrays_among({path.name for path in folder.glob("*") if path.is_file()})
    if arrays:
        example = next(iter(arrays[0].files.values()))[0]
        raise InputError(
            f"{folder}: holds {arrays[0].kind} ({example}), a data set by itself; pass this folder to alexprep shard, "
            f"without --layout or with --layout {arrays[0].layout}"
        )
    found = known_format(folder)
    if found is not None:
        what, example, way_out = found
        if example.endswith(".npz"):
            raise InputError(f"{folder}: holds {what} ({example}); pass the file itself as SOURCE")
        raise InputError(f"{folder}: holds {what} ({example}), a format that is not read; {way_out}, and pass that")
