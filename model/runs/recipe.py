"""A recipe: everything that determines a training run, as frozen, self-checking dataclasses.

The defaults follow the paper's text. The resolved recipe in a run folder reproduces the run.
"""

from bisect import bisect_right
from dataclasses import field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from ...errors import InputError
from ...pipeline import CropDraw, Jitter, MeanName, Order, TrainAugment
from ..network.switches import CHECKED, Switches
from .checked import from_data, to_data
from .schedule import Schedule
from .writers import WriterName

Precision = Literal["auto", "fp32", "tf32", "bf16", "fp16"]

AtLeast0 = Annotated[float, Field(ge=0)]
AtLeast1 = Annotated[int, Field(ge=1, le=2**31 - 1)]


def _american(mean: Any) -> Any:
    """The current spelling of a mean; older recipes had another."""
    if isinstance(mean, list):  # after a function validator, pydantic does not accept a list as a tuple, even from JSON
        return tuple(mean)
    return "center" if mean == "centre" else mean


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Data:
    """How images are presented: the options of `alexkit.pipeline.TrainAugment`, and the splits."""

    crop: AtLeast1 = 224
    """Side of a crop in px; the network's input size."""
    flip: bool = True
    """Mirror images at random, with probability 0.5."""
    jitter: Jitter = "paper"
    """Color noise: `paper` (eigenvalues of pixels 0-1), `original` (standard deviations, then all / 1.1), `off`."""
    mean: Annotated[MeanName | float | tuple[float, float, float], BeforeValidator(_american)] = "center"
    """What is subtracted: the central crop of the mean image (`center`, as released), the mean image at the position of
    the crop (`crop`, as in Caffe), the mean color (`channel`), nothing (`none`), or the given gray levels."""
    crop_draw: CropDraw = "image"
    """`image`: one crop per image. `group32`: one per 32 consecutive images, as released. `center`: always the central
    crop, which together with `flip = false` is the ablation of section 4.1."""
    order: Order = "full"
    """`full`: a new permutation every epoch. `window`: long reads, for slow disks. `shards`: for remote sets. `fixed`:
    the stored order every epoch, that is, the same minibatches for every epoch and seed, as released."""
    drop_last: bool = True
    """Drop the images that do not fill the last batch of an epoch: different ones each epoch, except with `fixed`. If
    false, they form a short batch, whose loss is the mean over its images, as released."""
    on_error: Literal["raise", "replace"] = "raise"
    """For a corrupt stored image: `raise` stops the run and names it, `replace` uses the next intact one instead."""
    validate_on: Literal["val", "test", "none"] = "val"
    """The split to validate on after epochs. `test`: the test split if there is one, as in 2012, or else `val`."""

    def augment(self) -> TrainAugment:
        """The same options as the loader's `TrainAugment`."""
        return TrainAugment(
            crop=self.crop,
            flip=self.flip,
            jitter=self.jitter,
            mean=self.mean,
            crop_draw=self.crop_draw,
        )


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Change:
    """Settings that change at the start of an epoch; settings left out stay as they were."""

    epoch: AtLeast1
    """Finished epochs before the change."""
    jitter: Jitter | None = None
    """As in `data`."""
    fold_in: Literal["val"] | None = None
    """A split that is added to the training set from then on, as cuda-convnet did with the fifth batch of CIFAR-10."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class ParamGroup:
    """Parameters with their own learning rate or weight decay. If several groups match, the last one applies."""

    match: tuple[str, ...]
    """Names of parameters, LAYER.weight or LAYER.bias; `*` matches anything: `["*.bias"]`, `["conv1.*"]`."""
    rates: tuple[tuple[AtLeast0, AtLeast0], ...] = ()
    """Pairs of finished epochs and the learning rate from then on. The rates are absolute: `rate` and the schedule do
    not apply to them. 0 freezes the parameters. If empty, the group follows `rate` and the schedule."""
    weight_decay: AtLeast0 | None = None
    """Replaces the weight decay of the recipe and the network."""

    def __post_init__(self) -> None:
        starts = [epoch for epoch, _ in self.rates]
        if starts != sorted(set(starts)) or (starts and starts[0] != 0):
            raise InputError(f"training.param_groups.rates: epochs must increase and start at 0, got {starts}")

    def matches(self, name: str) -> bool:
        """Whether the parameter `name` belongs to the group."""
        return any(fnmatchcase(name, pattern) for pattern in self.match)

    def rate_at(self, epoch: float) -> float | None:
        """The learning rate at the fractional `epoch`, or None if the group follows the run's rate."""
        at = bisect_right([start for start, _ in self.rates], epoch + 1e-9)
        return self.rates[at - 1][1] if self.rates else None


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Training:
    """Length, batch size and precision of a run, and the constants of the update."""

    epochs: AtLeast1 = 90
    """Passes over the training set."""
    batch_size: AtLeast1 = 128
    """Images per update, over all processes: the global batch size."""
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    """Seed of the initial weights, the order, the augmentations and the dropout masks."""
    rate: Annotated[float, Field(gt=0)] = 0.01
    """The initial learning rate."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Fraction of the last update that is added to the next one."""
    weight_decay: AtLeast0 | None = None
    """Decay of every layer's weights. By default each layer has its network's: 0.0005, or 0 to 3 in the CIFAR-10
    networks."""
    bias_rate: AtLeast0 = 1.0
    """Factor on the learning rate of the biases; 2 in the released code."""
    decay_biases: bool = False
    """Apply weight decay to biases too."""
    precision: Precision = "auto"
    """Precision of the multiplications; `auto` is bfloat16 on hardware with matrix units for it, otherwise float32."""
    accumulate: AtLeast1 = 1
    """Number of equal pieces into which a batch is split to save memory; their gradients are summed."""
    checkpoint_minutes: AtLeast0 = 10.0
    """The longest time between two checkpoints. A checkpoint is also written after every epoch."""
    log: tuple[WriterName, ...] = ("tensorboard",)
    """Where to write numbers and pictures besides the run folder's `log.jsonl`: `tensorboard`, `wandb`, `trackio`."""
    validate_every: AtLeast1 = 1
    """Epochs between validations; the last epoch is always validated."""
    stop_at_train_error: Annotated[float, Field(gt=0, lt=1)] | None = None
    """End after the first epoch whose top-1 error on the training images, as augmented, is at most this, 0-1. By
    default all epochs are trained."""
    start_from: str = ""
    """A run folder, safetensors file or .caffemodel with the initial weights. A plain name also refers to a run beside
    this one, which is how a recipe names its predecessor."""
    start_layers: tuple[str, ...] = ()
    """The layers to initialize from `start_from`; `*` matches anything. By default all but the last."""
    rates: dict[str, AtLeast0] = field(default_factory=dict)
    """Factors on the learning rate by layer, applied to absolute rates too; 0 freezes a layer."""
    param_groups: tuple[ParamGroup, ...] = ()
    """Parameters with their own learning rates or weight decays."""
    changes: tuple[Change, ...] = ()
    """Settings that change during the run."""

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise InputError(f"training.batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}")
        starts = [change.epoch for change in self.changes]
        if starts != sorted(set(starts)):
            raise InputError(f"training.changes: epochs must increase, got {starts}")
        if len(self.folds) > 1:
            raise InputError("training.changes: a split can be folded in only once")

    @property
    def folds(self) -> tuple[Change, ...]:
        """The changes that fold in a split: one or none."""
        return tuple(change for change in self.changes if change.fold_in is not None)


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Recipe:
    """A whole recipe. Raises ValueError for settings that contradict each other or a name that is not a plain name."""

    name: str = "paper"
    """The run's default name: that of the recipe's file."""
    network: Switches = field(default_factory=Switches)
    """The network to train."""
    data: Data = field(default_factory=Data)
    """How images are presented."""
    training: Training = field(default_factory=Training)
    """Length, batch size, precision and update."""
    schedule: Schedule = field(default_factory=Schedule)
    """How the learning rate decays."""

    def __post_init__(self) -> None:
        if not self.name or self.name != Path(self.name).name or self.name in (".", ".."):
            raise InputError(
                f"name = {self.name!r}: expected a plain name, since it becomes the name of the run folder"
            )
        if self.training.folds and self.data.validate_on == "val":
            raise InputError(
                "training.changes: fold_in = 'val' trains on the split that data.validate_on = 'val' scores; set "
                "data.validate_on to 'test'"
            )
        if self.training.folds and self.data.order != "full":
            raise InputError(f"training.changes: fold_in needs data.order = 'full', got {self.data.order!r}")

    def at(self, epoch: int) -> "Recipe":
        """This recipe after the `training.changes` of the first `epoch` epochs."""
        data = self.data
        for change in self.training.changes:
            if change.epoch <= epoch and change.jitter is not None:
                data = replace(data, jitter=change.jitter)
        return replace(self, data=data)

    def to_json(self) -> dict[str, Any]:
        """Plain data; `Recipe.from_json` is the inverse."""
        data: dict[str, Any] = to_data(self)
        return data

    @classmethod
    def from_json(cls, data: Any, *, where: str = "recipe") -> "Recipe":
        """Check and build. Raises InputError for a wrong value or an unknown key, naming the nearest known one."""
        return from_data(cls, data, where=where)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeChange:
    """Keys of the recipe that were changed by hand at some step of the run."""

    step: int
    """Finished steps when the change was made; it takes effect from the next step on."""
    set: dict[str, Any]
    """New values by `section.key`."""
