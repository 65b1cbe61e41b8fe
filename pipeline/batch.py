"""One batch, as the loader hands it over."""

import copy
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class Batch:
    """B samples on one device. `images, labels = batch` unpacks the two that every loop needs.

    `to` and `pin_memory` are what Lightning, accelerate and torch's own pinning look for.
    """

    images: "torch.Tensor"
    """(B, 3, H, W), or (B, 10, 3, H, W) for ten views, in the loader's dtype; floats are normalized gray levels."""
    labels: "torch.Tensor"
    """Class numbers, int64 (B,); with `mix` the probabilities of the classes, float32 (B, classes)."""
    indices: "torch.Tensor"
    """Sample indices in the shard set, int64 (B,)."""
    mask: "torch.Tensor"
    """bool (B,), False where the row only fills the last batch of an evaluation, or replaces a corrupt image in one."""
    keys: list[str]
    """The samples' names."""
    extras: dict[str, list[bytes | None]] = field(default_factory=dict)
    """By extension, the content of the tar members that were asked for; None where a sample has none."""
    targets: Any = None
    """What the loader's `target` function made, collated; on the host until `to`. None without one."""

    def __iter__(self) -> "Iterator[torch.Tensor]":
        yield self.images
        yield self.labels

    def __len__(self) -> int:
        """Rows, padding included."""
        return len(self.labels)

    def to(self, device: "torch.device | str | int", non_blocking: bool = False) -> "Batch":
        """The batch with its tensors on `device`, those of its targets too; itself where they are there already."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The batch with its tensors in page-locked memory, from which copies to a GPU need not wait."""
        return self._with_tensors(lambda tensor: tensor.pin_memory())

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, for models and trainers that take dicts."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def _with_tensors(self, change: Any) -> "Batch":
        names = ("images", "labels", "indices", "mask", "targets")
        changed = {name: _with_tensors(getattr(self, name), change) for name in names}
        return self if all(changed[name] is getattr(self, name) for name in names) else replace(self, **changed)


def _with_tensors(value: Any, change: Any) -> Any:
    """`value` with the tensors in its dicts, lists and tuples changed, at any depth; itself where none changes."""
    if hasattr(value, "pin_memory"):
        return change(value)
    if isinstance(value, MutableMapping):
        changed = {key: _with_tensors(item, change) for key, item in value.items()}
        if all(changed[key] is item for key, item in value.items()):
            return value
        copied: Any = copy.copy(value)  # as torch's collate does, so that its type stays
        copied.update(changed)
        return copied
    if isinstance(value, list | tuple):
        items = [_with_tensors(item, change) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
