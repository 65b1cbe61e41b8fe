"""A batch, as the loader yields it."""

import copy
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True, slots=True)
class Batch:
    """A batch of B samples on one device. `images, labels = batch` unpacks the two tensors that every loop needs.

    Lightning, accelerate and torch's own pinning look for the methods `to` and `pin_memory`.
    """

    images: "torch.Tensor"
    """(B, 3, H, W), or (B, 10, 3, H, W) for ten views, in the loader's dtype; floats are normalized gray levels."""
    labels: "torch.Tensor"
    """Class numbers, int64 (B,); with `mix`, class probabilities, float32 (B, classes)."""
    indices: "torch.Tensor"
    """Sample indices in the shard set, int64 (B,)."""
    mask: "torch.Tensor"
    """bool (B,). False for rows that pad the last batch, and for rows of an evaluation that replace a corrupt image."""
    keys: list[str]
    """The samples' names in the tars."""
    extras: dict[str, list[bytes | None]] = field(default_factory=dict)
    """Contents of the requested tar members, by extension; None for samples without that member."""
    targets: Any = None
    """Collated results of the loader's `target` function, on the host until `to` is called; None without `target`."""

    def __iter__(self) -> "Iterator[torch.Tensor]":
        yield self.images
        yield self.labels

    def __len__(self) -> int:
        """Number of rows, including padding."""
        return len(self.labels)

    def to(self, device: "torch.device | str | int", non_blocking: bool = False) -> "Batch":
        """The batch with its tensors, including those in `targets`, on `device`; itself if they are already there."""
        return self._with_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The batch with its tensors in page-locked memory, which allows asynchronous copies to a GPU."""
        return self._with_tensors(lambda tensor: tensor.pin_memory())

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, for models and trainers that take dicts."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    def _with_tensors(self, change: Any) -> "Batch":
        names = ("images", "labels", "indices", "mask", "targets")
        changed = {name: _with_tensors(getattr(self, name), change) for name in names}
        return self if all(changed[name] is getattr(self, name) for name in names) else replace(self, **changed)


def _with_tensors(value: Any, change: Any) -> Any:
    """`value` with `change` applied to tensors in its dicts, lists and tuples, at any depth; itself if unchanged."""
    if hasattr(value, "pin_memory"):
        return change(value)
    if isinstance(value, MutableMapping):
        changed = {key: _with_tensors(item, change) for key, item in value.items()}
        if all(changed[key] is item for key, item in value.items()):
            return value
        copied: Any = copy.copy(value)  # preserves the type, as torch's collate does
        copied.update(changed)
        return copied
    if isinstance(value, list | tuple):
        items = [_with_tensors(item, change) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
