"""The samples of a WebDataset tar: members that share a key, among them one image and its label.

A key ends at the first dot of the file name, as WebDataset defines it (`k.input.jpg` and `k.target.cls` belong to one
sample). If several images of one kind would then share a key, keys contain dots themselves (`img.v2.7.jpg`), and a key
ends at the last dot. Hidden members, which macOS writes, are not part of a sample.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from ....errors import InputError
from ...format.manifest import UNLABELED
from ...format.sample_index import NO_LABEL
from ...storage.by_offset import ByOffset, address_of, opened
from ..extras import checked_ext, column_extras
from ..inputs import Extra
from ..labels import RawLabel, Unlabeled, raw_label
from ..litter import is_hidden
from ..options import SourceOptions
from ..remarks import Remarks
from .tar_index import Member, Unpacked, members_of

IMAGE_KINDS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm", "avif", "jp2")
# Keys of labels in JSON; `label` takes precedence over all others.
LABEL_KEYS = (
    *("label", "class", "class_id", "class_index", "class_idx", "label_id", "target", "fine_label", "category"),
    *("category_id", "class_name", "label_name"),
)
MAX_LABEL_BYTES = 2**20
_SORT = "sort its members: unpack it, then 'tar --sort=name -cf'"
_PACK_AGAIN = "unpack it, then 'tar --hard-dereference --sort=name -cf'"
_UNLABELED_TO_SHARD = "pass --unlabeled to store images without labels"
_UNLABELED_TO_ADOPT = "'alexprep shard' takes tars without labels"
_TO_SHARD = f"name them with --image-column and --label-key, or {_UNLABELED_TO_SHARD}"
_TO_ADOPT = "name them with --image-column and --label-key; 'alexprep shard' takes other images, also without labels"


class LabeledSample(NamedTuple):
    """One image in a tar and its label. `kind` is the extension of the image in lower case."""

    key: str
    kind: str
    image: Member
    label_member: Member | None
    label: RawLabel
    extras: tuple[Extra, ...]


def labeled_samples(
    path: Path,
    *,
    image_kinds: Sequence[str] = IMAGE_KINDS,
    options: SourceOptions | None = None,
    remarks: Remarks | None = None,
) -> Iterator[LabeledSample]:
    """The samples of a tar, in the order of their first members.

    Args:
        path: The tar.
        image_kinds: Extensions of images.
        options: Which member or JSON key is the label or the image, if that is ambiguous.
        remarks: Receives a note if members of one sample are not adjacent. None, for tars to adopt, refuses such a tar,
            since single-pass readers (webdataset, DALI) cannot read it.

    Raises InputError, naming the tar and the sample, for an incomplete tar, a sample without image or label or with
    several, and a repeated member.
    """
    options, adopting = options or SourceOptions(), remarks is None
    with opened(path) as file:
        for number, (key, members) in enumerate(_samples(path, image_kinds, options, remarks)):
            where = f"{path}: sample {key!r}"
            kinds = [kind for kind in members if _is_image(kind, image_kinds, options)]
            label_kinds = _label_kinds(members, options)
            if len(kinds) != 1 or len(label_kinds) > 1 or not (label_kinds or options.unlabeled):
                if [*members] == ["tar"]:
                    raise InputError(
                        f"{path}: holds tars, e.g. {key}.tar; unpack it (tar -xf {quote(path.name)}) and pass the "
                        "folder of these tars as SOURCE"
                    )
                is_unlabeled = len(kinds) == 1 and not label_kinds and number == 0
                way_out = f"{_TO_SHARD}{_if_classes(path, key, is_image=is_unlabeled and len(members) == 1)}"
                raise (Unlabeled if is_unlabeled else InputError)(
                    f"{where} has the members {', '.join(sorted(members))}; expected one image "
                    f"({', '.join(image_kinds)}) and a label (cls or json); " + (_TO_ADOPT if adopting else way_out)
                )
            label: RawLabel = UNLABELED
            label_member, row = None, None
            if label_kinds:
                label_member = members[label_kinds[0]]
                content = _content(file, label_member, where)
                if _last(label_kinds[0]) == "json":
                    row = _json_row(content, where)
                    label = _label_in(row, options, where, adopting=adopting)
                else:
                    label = _label_in_text(content, where)
                if label == NO_LABEL:
                    if not options.unlabeled:
                        raise (InputError if number else Unlabeled)(
                            f"{where}: label {NO_LABEL}, which means no label; "
                            + (_UNLABELED_TO_ADOPT if adopting else _UNLABELED_TO_SHARD)
                        )
                    label = UNLABELED
            image = members[kinds[0]]
            extras = tuple(sorted(_extras(path, members, row, options))) if options.keep else ()
            yield LabeledSample(key, _last(kinds[0]), image, label_member, label, extras)


def _if_classes(path: Path, key: str, *, is_image: bool) -> str:
    """Further advice for tars of one class each, which are named after it, and for tars of class folders."""
    folder = key.rpartition("/")[0]
    if is_image and folder in ("", path.stem):
        return f"; if each tar holds one class and this one holds {path.stem!r}, add --layout class-tars"
    return f"; if {folder}/ is a class, unpack the tar and pass the result as SOURCE" if folder else ""


def _samples(
    path: Path, image_kinds: Sequence[str], options: SourceOptions, remarks: Remarks | None
) -> Iterator[tuple[str, dict[str, Member]]]:
    """Key and members by kind."""
    not_read: list[str] = []
    members = [member for member in members_of(path, not_read.append) if not is_hidden(member.name)]
    if remarks is not None:
        Unpacked(members, [], not_read).remark(remarks, path.name)
    elif (link := next((one.name for one in members if one.is_link), None)) is not None:
        raise InputError(f"{path}: {link!r} is a hard link, which other readers leave out; {_PACK_AGAIN}")
    split = _split_at_first_dot
    if options.image_column is None and _has_dotted_keys(members, image_kinds):
        split = _split_at_last_dot
    samples: dict[str, dict[str, Member]] = {}
    apart: str | None = None
    for key, group in itertools.groupby(members, key=lambda member: split(member.name)[0]):
        by_kind = samples.setdefault(key, {})
        apart = key if by_kind and apart is None else apart
        for member in group:
            kind = split(member.name)[1]
            if kind in by_kind:
                raise InputError(f"{path}: {member.name!r} is in it twice; write the shard again")
            by_kind[kind] = member
    if apart is not None:
        if remarks is None:
            raise InputError(f"{path}: the members of sample {apart!r} are not adjacent; {_SORT}")
        remarks.note(
            f"{path.name}: the members of a sample are not adjacent, e.g. of {apart!r}; they are joined here, but "
            f"other readers need them sorted ({_SORT})"
        )
    yield from samples.items()


def _split_at_first_dot(name: str) -> tuple[str, str]:
    folder, slash, file_name = name.rpartition("/")
    stem, _, kind = file_name.partition(".")
    return folder + slash + stem, kind.lower()


def _split_at_last_dot(name: str) -> tuple[str, str]:
    stem, _, kind = name.rpartition(".")
    return stem, kind.lower()


def _has_dotted_keys(members: Sequence[Member], image_kinds: Sequence[str]) -> bool:
    """Whether any key up to the first dot has two images of one kind, so that keys must contain dots themselves."""
    seen: set[tuple[str, str]] = set()
    for member in members:
        key, kind = _split_at_first_dot(member.name)
        if _last(kind) not in image_kinds or "." not in kind:
            continue
        if (key, _last(kind)) in seen:
            return True
        seen.add((key, _last(kind)))
    return False


def _last(kind: str) -> str:
    return kind.rpartition(".")[2]


def _is_image(kind: str, image_kinds: Sequence[str], options: SourceOptions) -> bool:
    if options.image_column is not None:
        return kind == options.image_column.lower()
    return _last(kind) in image_kinds and kind not in map(str.lower, options.keep)


def _label_kinds(members: dict[str, Member], options: SourceOptions) -> list[str]:
    """The members that hold the label: the one that the user names, else `cls`, else `json`."""
    if options.label_key is not None and options.label_key.lower() in members:
        return [options.label_key.lower()]
    numbers = [kind for kind in members if _last(kind) == "cls"]
    rows = [kind for kind in members if _last(kind) == "json"]
    if options.label_key is not None:
        return rows
    return numbers or rows


def _content(file: ByOffset, member: Member, where: str) -> bytes:
    if member.num_bytes > MAX_LABEL_BYTES:
        raise InputError(f"{where}: a label of {member.num_bytes} bytes; expected a number or a name")
    return file.read_at(member.offset, member.num_bytes)


def _label_in_text(content: bytes, where: str) -> RawLabel:
    try:
        label = raw_label(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InputError(f"{where}: label {content[:20]!r}, not UTF-8; write a number or a name") from None
    if label is None:
        raise InputError(f"{where}: no label; its member is empty")
    return label


def _json_row(content: bytes, where: str) -> dict[str, object]:
    try:
        row = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: its .json cannot be read ({error}); correct it") from None
    return row if isinstance(row, dict) else {}


def _label_in(row: dict[str, object], options: SourceOptions, where: str, *, adopting: bool) -> RawLabel:
    """The label in a JSON object; UNLABELED if it has none and that is allowed."""
    if options.label_key is not None:
        keys = [options.label_key] if options.label_key in row else []
    else:
        keys = ["label"] if "label" in row else [key for key in LABEL_KEYS if key in row]
    label = raw_label(row[keys[0]]) if len(keys) == 1 else None
    if label is not None:
        return label
    if not keys and options.unlabeled:
        return UNLABELED
    if len(keys) > 1:
        raise InputError(f"{where}: several keys may hold the label ({', '.join(keys)}); choose one with --label-key")
    found = f"label {row[keys[0]]!r}" if keys and row[keys[0]] is not None else "no label"
    raise (InputError if keys else Unlabeled)(
        f"{where}: {found} in its .json, which has the keys {', '.join(sorted(row)) or '(none)'}; expected a class "
        "index or a name: name the key with --label-key"
        + (f"; {_UNLABELED_TO_ADOPT}" if adopting else f", or {_UNLABELED_TO_SHARD}")
    )


def _extras(
    path: Path, members: dict[str, Member], row: dict[str, object] | None, options: SourceOptions
) -> Iterator[Extra]:
    for name in options.keep:
        member = members.get(name.lower())
        if member is not None:
            yield Extra(checked_ext(name.lower()), b"", address_of(path), member.offset, member.num_bytes)
        elif row is not None:
            yield from column_extras((name,), row)
