"""Which features of the examples hold the image, its label and its file name."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...storage.window import Window, window_of
from ..labels import Unlabeled
from ..lists.columns import LABEL_NAMES, find_column
from ..options import SourceOptions
from .example import Feature, byte_ranges, features_of
from .framing import damage_in, records_in, refuse_record

SYNSET, TEXT, LABEL = "image/class/synset", "image/class/text", "image/class/label"
_IMAGE_NAMES = ("image/encoded", "image")
_FILE_NAMES = ("image/filename", "file_name", "filename", "image_name", "image_id", "id")
_TRIED = 20  # examples that are looked at to find the image
_HEAD_BYTES = 16
_MAX_LABEL_BYTES = 2**10  # longer bytes are no name of a class
_SIGNATURES = (
    *(b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"P5\n", b"P6\n"),
    *(b"\0\0\0\x0cjP", b"\xff\x4f\xff"),
)
_RAW = "if they are raw pixels, write them again as PNG (tf.io.encode_png), or to class folders"


class Columns(NamedTuple):
    """The names of features; None for what there is not."""

    image: str
    label: str | None
    """Integers or, if `class_id` is None, possibly names."""
    class_id: str | None = None
    """Names of the classes that `label` numbers."""
    class_name: str | None = None
    """Readable names of the classes `class_id`."""
    file_name: str | None = None
    keep: tuple[str, ...] = ()


class _Example(NamedTuple):
    """The features of one example: the kinds of all; size and first bytes of those with a single value of bytes."""

    kinds: dict[str, str]
    sizes: dict[str, int]
    heads: dict[str, bytes]


def find_columns(files: Sequence[Path], options: SourceOptions) -> Columns | None:
    """The columns, by the names and values of the first examples; None if there are no examples.

    Raises InputError if the image or its label is not found or could be several features, and Unlabeled if there is no
    label.
    """
    path, found = _first_examples(files)
    if not found:
        return None
    kinds = {name: kind for one in reversed(found) for name, kind in one.kinds.items()}
    image = _image_column(path, found, kinds, options)
    label, class_id, class_name = _label_columns(path, found, kinds, image, options)
    return Columns(
        image=image,
        label=label,
        class_id=class_id,
        class_name=class_name,
        file_name=next((name for name in _FILE_NAMES if kinds.get(name) == "bytes"), None),
        keep=tuple(name for name in options.keep if name != image),
    )


def _image_column(path: Path, found: Sequence[_Example], kinds: Mapping[str, str], options: SourceOptions) -> str:
    """The feature that the user names, else the one that holds encoded images; of several, one of a usual name."""
    wanted = options.image_column
    if wanted is not None:
        if kinds.get(wanted) != "bytes":
            raise InputError(f"{path}: --image-column {wanted}: no such feature of bytes among {_described(kinds)}")
        return wanted
    images = sorted({name for one in found for name, head in one.heads.items() if _is_image(head)})
    usual = [name for name in _IMAGE_NAMES if name in images]
    if len(usual or images) == 1:
        return (usual or images)[0]
    if images:
        raise InputError(f"{path}: several features hold images: {', '.join(images)}; choose one with --image-column")
    sizes = {name: size for one in reversed(found) for name, size in one.sizes.items()}
    largest = max(sizes, key=sizes.__getitem__, default=None)
    example = "" if largest is None else f", e.g. {sizes[largest]} bytes of {largest}; {_RAW}"
    raise InputError(
        f"{path}: no feature holds an encoded image (JPEG, PNG, …) in the first {len(found)} examples, which have "
        f"{_described(kinds)}{example or '; pass a source of images'}"
    )


def _is_image(head: bytes) -> bool:
    """Whether these are the first bytes of a format of images."""
    is_bmp = head.startswith(b"BM") and head[6:10] == bytes(4)  # not a class called BMW
    return head.startswith(_SIGNATURES) or is_bmp or head[8:12] == b"WEBP" or head[4:8] == b"ftyp"


def _label_columns(
    path: Path, found: Sequence[_Example], kinds: Mapping[str, str], image: str, options: SourceOptions
) -> tuple[str | None, str | None, str | None]:
    """The features of labels, of the names of the classes that these number, and of more readable names."""
    short = {name for one in found for name, size in one.sizes.items() if size <= _MAX_LABEL_BYTES}
    possible = [name for name in sorted(kinds) if name != image and (kinds[name] != "bytes" or name in short)]
    wanted = options.label_column or options.label_key
    if wanted is not None:
        return find_column(possible, (), wanted, "--label-column", str(path), Unlabeled), None, None
    number = LABEL if kinds.get(LABEL) == "integers" else None
    for class_id, class_name in ((SYNSET, TEXT), (TEXT, None)):
        if any(one.sizes.get(class_id) for one in found):
            return number, class_id, class_name if class_name in kinds else None
    label = number or find_column(possible, LABEL_NAMES, None, "--label-column", str(path))
    if label is None and not options.unlabeled:
        objects = sorted(name for name in kinds if name.startswith(("image/object/", "objects/")))
        if objects:
            raise InputError(
                f"{path}: examples of object detection ({', '.join(objects[:3])}, …), not of one class per image; name "
                "a feature with one label per image with --label-column, or pass --unlabeled to store the images "
                "without labels"
            )
        raise Unlabeled(
            f"{path}: no feature with a usual name of labels among {_described(kinds)}; name it with --label-column, "
            "or pass --unlabeled to store the images without labels"
        )
    return label, None, None


def _described(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items())) or "none"


def _first_examples(files: Sequence[Path]) -> tuple[Path, list[_Example]]:
    """The first undamaged examples of the first file that has any."""
    for path in files:
        with window_of(path) as window:
            found = list(_examples_in(window, path))
        if found:
            return path, found
    return files[0], []


def _examples_in(window: Window, path: Path) -> Iterator[_Example]:
    for number, record in enumerate(records_in(window, path)):
        if number == _TRIED:
            return
        try:
            one = _example(window, features_of(window, record.offset, record.offset + record.num_bytes))
        except ValueError:
            one = None
        if one is not None and one.kinds:
            yield one
        elif damage_in(path, record) is None:
            refuse_record(path, record)


def _example(window: Window, features: Mapping[bytes, Feature]) -> _Example:
    one = _Example({}, {}, {})
    for encoded, feature in features.items():
        name = encoded.decode("utf-8", "surrogateescape")
        one.kinds[name] = feature.kind
        if feature.kind == "bytes" and len(ranges := byte_ranges(window, feature, 2)) == 1:
            ((start, stop),) = ranges
            one.sizes[name] = stop - start
            one.heads[name] = window.read(start, min(stop - start, _HEAD_BYTES))
    return one
