"""Names that are not images: system files, and other file types that are found beside images.

Every other file is taken for an image; whether it is one, the decoder decides.
"""

from ...hub import CARD_NAME
from ..format.manifest import MANIFEST_NAME, QUARANTINE_NAME, STATISTICS_NAME
from ..format.sample_index import SAMPLE_INDEX_NAME
from ..format.source_table import SOURCES_NAME
from ..format.timm_info import TIMM_INFO_NAME

SHARD_SET_NAMES = frozenset(
    (MANIFEST_NAME, QUARANTINE_NAME, SOURCES_NAME, STATISTICS_NAME, SAMPLE_INDEX_NAME, TIMM_INFO_NAME, CARD_NAME)
)
SYSTEM_NAMES = frozenset(
    (
        *("__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"),
        *("thumbs.db", "desktop.ini", "ehthumbs.db", "__pycache__"),
    )
)
IMAGE_SUFFIXES = frozenset(
    (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "ppm", "pgm", "pbm", "pnm"),
        *("avif", "jp2", "j2k", "jpx", "heic", "heif", "tga", "pcx", "sgi", "ico"),
    )
)
_MASK_FOLDERS = frozenset(
    (
        *("mask", "masks", "annotation", "annotations", "labels", "segmentation", "segmentations", "trimaps"),
        *("groundtruth", "ground_truth", "gt"),
    )
)
_USUAL_ENDS = (".jpg", ".JPEG", ".jpeg", ".png", ".JPG")  # checked first, since there can be a million of them
_ANNOTATION_SUFFIXES = frozenset(
    (
        *("txt", "md", "rst", "html", "htm", "xml", "json", "jsonl", "csv", "tsv", "yaml", "yml", "toml", "ini", "cfg"),
        *("log", "pdf", "doc", "docx", "xls", "xlsx", "odt", "py", "ipynb", "sh", "mat", "names"),
        *("md5", "sha1", "sha256", "xmp", "aae", "pp3"),
    )
)
_OTHER_SUFFIXES = _ANNOTATION_SUFFIXES | frozenset(
    (
        *("db", "pyc", "bat", "npy", "npz", "pkl", "pickle", "pt", "pth", "ckpt", "h5", "hdf5", "onnx", "safetensors"),
        *("tar", "gz", "tgz", "zst", "zip", "rar", "7z", "xz", "bz2", "parquet", "arrow", "mdb"),
        *("tfrecord", "tfrecords", "tfrec"),
        *("mp4", "m4v", "3gp", "avi", "mov", "mkv", "webm", "mpg", "mpeg", "wmv", "mts", "lrv", "thm"),
        *("wav", "mp3", "m4a", "svg", "lnk", "url", "exe", "dll"),
        *("bak", "tmp", "part", "crdownload", "swp", "aux", "idx", "rec", "lst", "torrent", "data", "bin"),
    )
)
_OTHER_NAMES = frozenset(("readme", "license", "licence", "copying", "makefile", "checksums", "md5sums", "sha256sums"))


def is_hidden(name: str) -> bool:
    """Whether a component of a member name or path is hidden, as in `._a.jpg` or `.git/x`, or a system file."""
    return any(is_system(part) for part in name.split("/") if part not in (".", ".."))


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden or a system file, such as `.DS_Store` or `Thumbs.db`."""
    if name.endswith(_USUAL_ENDS):
        return name.startswith(".")
    return name.startswith(".") or name.casefold() in SYSTEM_NAMES


def is_of_shard_set(name: str) -> bool:
    """Whether a file beside shards is one that `alexprep` wrote with them."""
    return name in SHARD_SET_NAMES or name.endswith(".idx")


def is_image_name(name: str) -> bool:
    """Whether the suffix is that of an image format."""
    return name.rpartition(".")[2].casefold() in IMAGE_SUFFIXES


def is_other_name(name: str) -> bool:
    """Whether the name shows that the file is not an image."""
    if name.endswith(_USUAL_ENDS):
        return False
    _, dot, suffix = name.rpartition(".")
    if name.endswith("~"):  # an editor's backup
        return True
    if "-of-" in suffix:  # tfrecord-00000-of-00002
        suffix = suffix.partition("-")[0]
    return suffix.casefold() in _OTHER_SUFFIXES if dot else name.casefold() in _OTHER_NAMES


def is_mask_folder(name: str) -> bool:
    """Whether a folder beside one called `images` holds their masks or other annotations."""
    return name.casefold() in _MASK_FOLDERS


def is_annotation_name(name: str) -> bool:
    """Whether the name shows that the file holds text, a table or a program: no image, archive or unfinished file."""
    if name.endswith(_USUAL_ENDS):
        return False
    _, dot, suffix = name.rpartition(".")
    return suffix.casefold() in _ANNOTATION_SUFFIXES if dot else name.casefold() in _OTHER_NAMES
