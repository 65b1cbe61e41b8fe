"""A recipe: everything that shapes a training run, as frozen dataclasses that check themselves.

Defaults are the paper's text. The resolved recipe in a run folder reproduces the run.
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
    """The present spelling of a mean, from that of older recipes too."""
    if isinstance(mean, list):  # behind a function pydantic takes no list for a tuple, not even in JSON
        return tuple(mean)
    return "center" if mean == "centre" else mean


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Data:
    """How images are presented: the choices of `alexkit.pipeline.TrainAugment`, and the splits."""

    crop: AtLeast1 = 224
    """Side of a crop in px; what the network reads."""
    flip: bool = True
    """Whether every second image, at random, is mirrored."""
    jitter: Jitter = "paper"
    """Color noise: `paper` (eigenvalues of pixels 0-1), `original` (standard deviations, then all / 1.1), `off`."""
    mean: Annotated[MeanName | float | tuple[float, float, float], BeforeValidator(_american)] = "center"
    """What is subtracted: the mean image's central crop (`center`, as released), the mean image at the crop's own place
    (`crop`, Caffe), the mean color (`channel`), nothing (`none`), or gray levels."""
    crop_draw: CropDraw = "image"
    """`image`: a crop for every image. `group32`: one for 32 consecutive images, as released. `center`: the central one
    always, which with `flip = false` is the ablation of section 4.1."""
    order: Order = "full"
    """`full`: a new permutation every epoch. `window`: long reads, for slow disks. `shards`: for remote sets. `fixed`:
    the stored order every epoch, so the same minibatches, shuffled once for all seeds, as released."""
    drop_last: bool = True
    """Whether the images of an epoch that fill no batch are left out: others each epoch, but the same with `fixed`.
    Else they are a short batch of their own, whose loss is the mean over it, as released."""
    on_error: Literal["raise", "replace"] = "raise"
    """A corrupt stored image: `raise` stops the run and names it, `replace` trains on the next sound one."""
    validate_on: Literal["val", "test", "none"] = "val"
    """The split that is scored after the epochs. `test`: the test split where there is one, as in 2012; else `val`."""

    def augment(self) -> TrainAugment:
        """The same choices as the loader takes them."""
        return TrainAugment(
            crop=self.crop,
            flip=self.flip,
            jitter=self.jitter,
            mean=self.mean,
            crop_draw=self.crop_draw,
        )


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Change:
    """What is different from the start of an epoch on; what is not named stays as it was."""

    epoch: AtLeast1
    """Finished epochs."""
    jitter: Jitter | None = None
    """As in `data`."""
    fold_in: Literal["val"] | None = None
    """A split whose images are trained on too from then on, as cuda-convnet did with the fifth batch of CIFAR-10."""


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class ParamGroup:
    """Parameters with a learning rate or a weight decay of their own. Of several that match, the last one counts."""

    match: tuple[str, ...]
    """Names of parameters, LAYER.weight or LAYER.bias; `*` stands for anything: `["*.bias"]`, `["conv1.*"]`."""
    rates: tuple[tuple[AtLeast0, AtLeast0], ...] = ()
    """Pairs of finished epochs and the learning rate from then on. It is absolute: neither `rate` nor the schedule
    changes it. 0 freezes. Without any, the group follows them."""
    weight_decay: AtLeast0 | None = None
    """In place of the recipe's and the network's."""

    def __post_init__(self) -> None:
        starts = [epoch for epoch, _ in self.rates]
        if starts != sorted(set(starts)) or (starts and starts[0] != 0):
            raise InputError(f"training.param_groups.rates: their epochs must rise and begin at 0, got {starts}")

    def matches(self, name: str) -> bool:
        """Whether a parameter of this name belongs to the group."""
        return any(fnmatchcase(name, pattern) for pattern in self.match)

    def rate_at(self, epoch: float) -> float | None:
        """The rate at `epoch` (fractions count steps), None where the group follows the run's."""
        at = bisect_right([start for start, _ in self.rates], epoch + 1e-9)
        return self.rates[at - 1][1] if self.rates else None


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Training:
    """Length, batch and precision of a run, and the constants of the update."""

    epochs: AtLeast1 = 90
    """Passes over the training set."""
    batch_size: AtLeast1 = 128
    """Images per update over all processes: the global batch."""
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    """Of the initial weights, the order, the augmentations and the dropout masks."""
    rate: Annotated[float, Field(gt=0)] = 0.01
    """The learning rate at the start."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """What remains of the last update in the next one."""
    weight_decay: AtLeast0 | None = None
    """Of every layer's weights. Left out, each layer has its network's: 0.0005, and 0 to 3 in the CIFAR-10 networks."""
    bias_rate: AtLeast0 = 1.0
    """Factor on the learning rate of the biases; 2 in the released code."""
    decay_biases: bool = False
    """Whether biases decay too."""
    precision: Precision = "auto"
    """Of the multiplications; `auto` is bfloat16 where the hardware has matrix units for it, else float32."""
    accumulate: AtLeast1 = 1
    """Into how many equal pieces a batch is divided to need less memory; their gradients are added up."""
    checkpoint_minutes: AtLeast0 = 10.0
    """The most time between two checkpoints. One is also written after every epoch."""
    log: tuple[WriterName, ...] = ("tensorboard",)
    """Where numbers and pictures go besides the run folder's `log.jsonl`: `tensorboard`, `wandb`, `trackio`."""
    validate_every: AtLeast1 = 1
    """Epochs between validations; one follows the last epoch in any case."""
    stop_at_train_error: Annotated[float, Field(gt=0, lt=1)] | None = None
    """End after the first epoch whose top-1 error on the training images, as they were shown, is this or less, 0-1.
    Left out, all epochs are trained."""
    start_from: str = ""
    """A run folder, safetensors file or .caffemodel whose weights to start with. A plain name is also looked for beside
    the run: a recipe names its predecessor so."""
    start_layers: tuple[str, ...] = ()
    """Which layers start from there, `*` standing for anything. Left out, all but the last."""
    rates: dict[str, AtLeast0] = field(default_factory=dict)
    """Factors on the learning rate by layer, absolute ones too; 0 freezes it."""
    param_groups: tuple[ParamGroup, ...] = ()
    """Parameters with rates or decays of their own."""
    changes: tuple[Change, ...] = ()
    """What changes on the way."""

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise InputError(f"training.batch_size {self.batch_size} is not a multiple of accumulate {self.accumulate}")
        starts = [change.epoch for change in self.changes]
        if starts != sorted(set(starts)):
            raise InputError(f"training.changes: their epochs must rise, got {starts}")
        if len(self.folds) > 1:
            raise InputError("training.changes: a split can be folded in once")

    @property
    def folds(self) -> tuple[Change, ...]:
        """The changes that fold in a split: one or none."""
        return tuple(change for change in self.changes if change.fold_in is not None)


@dataclass(frozen=True, kw_only=True, slots=True, config=CHECKED)
class Recipe:
    """A whole recipe. Raises ValueError for a name that is none."""

    name: str = "paper"
    """The run's default name: that of the recipe's file."""
    network: Switches = field(default_factory=Switches)
    """Which network."""
    data: Data = field(default_factory=Data)
    """How images are presented."""
    training: Training = field(default_factory=Training)
    """Length, batch, precision, update."""
    schedule: Schedule = field(default_factory=Schedule)
    """How the learning rate falls."""

    def __post_init__(self) -> None:
        if not self.name or self.name != Path(self.name).name or self.name in (".", ".."):
            raise InputError(f"name = {self.name!r}: expected a plain name, since the run folder is called so")
        if self.training.folds and self.data.validate_on == "val":
            raise InputError(
                "training.changes: fold_in = 'val' trains on what data.validate_on = 'val' scores; set it to 'test'"
            )
        if self.training.folds and self.data.order != "full":
            raise InputError(f"training.changes: fold_in needs data.order = 'full', got {self.data.order!r}")

    def at(self, epoch: int) -> "Recipe":
        """This recipe as `training.changes` have it after `epoch` finished epochs."""
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
        """Check and build. Raises InputError for an unknown key, with the nearest known one, and for a wrong value."""
        return from_data(cls, data, where=where)


@dataclass(frozen=True, kw_only=True, slots=True)
class RecipeChange:
    """Keys of the recipe that were changed by hand while the run stood at a step."""

    step: int
    """Finished steps when it was made; it holds from the next step on."""
    set: dict[str, Any]
    """New values by `section.key`."""
