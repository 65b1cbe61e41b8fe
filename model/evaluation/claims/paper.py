"""The paper's claims, with the printed numbers and what they are of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .effects import Comparison
from .estimates import Benchmark
from .run_records import RunRecord

Needs = Literal["nothing", "CIFAR-10", "ImageNet", "other data"]

TEST_2010 = Benchmark(data="ILSVRC 2010", split="test", images=150_000)
VAL_2012 = Benchmark(data="ILSVRC 2012", split="val", images=50_000)
FALL_2009 = Benchmark(data="10,184 classes", split="val", images=None)
CIFAR_10 = Benchmark(data="CIFAR-10", split="test", images=10_000)


@dataclass(frozen=True, kw_only=True, slots=True)
class PrintedErrors:
    """Errors printed for one kind of views."""

    errors: tuple[float, float]
    """Top-1 and top-5 error, 0-1."""
    view: Literal["center", "ten"] = "ten"
    """The kind of views."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One claim of the paper."""

    id: str
    """The id used in the recipes' [about] sections."""
    claim: str
    """The claim in a few words."""
    printed: str
    """The numbers printed in the paper."""
    needs: Needs
    """The data needed to test it."""
    printed_errors: tuple[PrintedErrors, ...] = ()
    """The printed errors, if the claim is about one network or one average."""
    benchmark: Benchmark = VAL_2012
    """What those errors are of."""
    together: tuple[tuple[frozenset[str], int], ...] = ()
    """For averages: the recipes of the networks, and the number of each. Empty for one network."""
    comparisons: tuple[Comparison, ...] = ()
    """The effects that it claims."""
    ten_views: Comparison | None = None
    """The effect of ten views against one of the same runs, if it claims one; its `less` selects the networks whose
    effect was printed."""


def _recipe(*names: str) -> Callable[[RunRecord], bool]:
    return lambda record: record.recipe.name in names


def _f1(activation: str) -> Callable[[RunRecord], bool]:
    return lambda record: record.recipe.name.startswith("f1-") and record.recipe.network.activation == activation


def _decay(off: bool) -> Callable[[RunRecord], bool]:
    return lambda record: (
        record.recipe.name == "cifar10-19"
        and not record.recipe.data.flip
        and (record.recipe.training.weight_decay == 0) == off
    )


def _flips(on: bool) -> Callable[[RunRecord], bool]:
    return lambda record: (
        record.recipe.name == "cifar10-19"
        and record.recipe.training.weight_decay is None
        and record.recipe.data.flip == on
    )


_PLAIN = frozenset({"original", "t2a", "t2b"})
_PRETRAINED = frozenset({"146-2012-2011", "t2c", "t2d"})
_NET_145 = _recipe(*_PLAIN)


def _without(what: str, keys: tuple[str, ...], *names: str, printed: tuple[float, ...] = ()) -> Comparison:
    return Comparison(what=what, measure="error", less=_NET_145, more=_recipe(*names), keys=keys, printed=printed,
                      benchmark=VAL_2012)  # fmt: skip


def _errors(top1: float, top5: float, view: Literal["center", "ten"] = "ten") -> PrintedErrors:
    return PrintedErrors(errors=(top1, top5), view=view)


CLAIMS = (
    Claim(id="T1", claim="ILSVRC 2010 test set, ten views; one view", printed="37.5 / 17.0; 39.0 / 18.3 %",
          needs="ImageNet", printed_errors=(_errors(0.375, 0.170), _errors(0.390, 0.183, "center")),
          benchmark=TEST_2010),
    Claim(id="T2a", claim="ILSVRC 2012, one network", printed="40.7 / 18.2 %", needs="ImageNet",
          printed_errors=(_errors(0.407, 0.182),)),
    Claim(id="T2b", claim="ILSVRC 2012, five networks", printed="38.1 / 16.4 %", needs="ImageNet",
          printed_errors=(_errors(0.381, 0.164),), together=((_PLAIN, 5),)),
    Claim(id="T2c", claim="ILSVRC 2012, one pre-trained network", printed="39.0 / 16.6 %", needs="other data",
          printed_errors=(_errors(0.390, 0.166),)),
    Claim(id="T2d", claim="ILSVRC 2012, seven networks", printed="36.7 / 15.4 %", needs="other data",
          printed_errors=(_errors(0.367, 0.154),), together=((_PLAIN, 5), (_PRETRAINED, 2))),
    Claim(id="T3", claim="ImageNet Fall 2009, half and half", printed="67.4 / 40.9 %", needs="other data",
          printed_errors=(_errors(0.674, 0.409),), benchmark=FALL_2009),
    Claim(id="F1", claim="ReLU reaches 25 % training error sooner than tanh", printed="6 times", needs="CIFAR-10",
          comparisons=(Comparison(what="tanh against ReLU", measure="epochs to 25 %", less=_f1("relu"),
                                  more=_f1("tanh"), printed=(6,), benchmark=CIFAR_10,
                                  keys=("network.activation", "training.rate", "training.epochs")),)),
    Claim(id="F2", claim="sizes of the network", printed="60 million parameters, 650,000 neurons", needs="nothing"),
    Claim(id="F3", claim="one column's kernels are gray, the other's colored", printed="picture", needs="ImageNet"),
    Claim(id="F4", claim="likeliest classes, nearest images", printed="picture", needs="ImageNet"),
    Claim(id="B1", claim="two GPUs against one", printed="-1.7 / -1.2 points", needs="ImageNet",
          comparisons=(Comparison(what="two columns less one", measure="error", less=_recipe("t1"),
                                  more=_recipe("b1"), keys=("network.kind",), printed=(-0.017, -0.012),
                                  benchmark=TEST_2010),)),
    Claim(id="B2", claim="response normalization", printed="-1.4 / -1.2 points; CIFAR-10: 13 to 11 %",
          needs="CIFAR-10", comparisons=(
              Comparison(what="11 % less 13 % network", measure="error", less=_recipe("cifar10-11"),
                         more=_recipe("cifar10-13"), keys=("network.kind",), printed=(-0.02,),
                         printed_errors=(0.11, 0.13), benchmark=CIFAR_10, view="nine"),
              Comparison(what="18 % less 19 % network", measure="error", less=_recipe("cifar10-18"),
                         more=_recipe("cifar10-19-140"), keys=("network.kind",)),
              _without("with less without", ("network.norm",), "b2", printed=(-0.014, -0.012)))),
    Claim(id="B3", claim="overlapping pooling", printed="-0.4 / -0.3 points", needs="ImageNet",
          comparisons=(_without("3/2 less 2/2", ("network.pooling",), "b3", printed=(-0.004, -0.003)),)),
    Claim(id="B4", claim="ten views against one; crops and mirror images against overfitting",
          printed="-1.5 / -1.3 points; no number", needs="ImageNet",
          ten_views=Comparison(what="ten views less one", measure="error", less=_recipe("t1"), more=_recipe("t1"),
                               keys=(), printed=(-0.015, -0.013), benchmark=TEST_2010),
          comparisons=(
              _without("with less without crops and mirror images", ("data.crop_draw", "data.flip"), "b4"),
              Comparison(what="mirror images less none", measure="error", less=_flips(True), more=_flips(False),
                         keys=("data.flip",)))),
    Claim(id="B5", claim="color noise", printed="over 1 point of top-1", needs="ImageNet",
          comparisons=(_without("with less without", ("data.jitter", "training.changes"), "b5", printed=(-0.01,)),)),
    Claim(id="B6", claim="dropout doubles the steps and stops overfitting", printed="twice", needs="ImageNet",
          comparisons=(
              Comparison(what="with dropout against without", measure="steps to converge", less=_recipe("b6"),
                         more=_NET_145, keys=("network.dropout",), printed=(2,), benchmark=VAL_2012),
              _without("with less without", ("network.dropout",), "b6"))),
    Claim(id="B7", claim="weight decay lowers the training error; biases of 1 speed the start", printed="no number",
          needs="CIFAR-10", comparisons=(
              Comparison(what="decay less none", measure="training error", less=_decay(False), more=_decay(True),
                         keys=("training.weight_decay",)),
              Comparison(what="decay less none", measure="training error", less=_NET_145,
                         more=_recipe("b7-decay"), keys=("training.weight_decay",)),
              Comparison(what="biases of 1 less 0", measure="training error of the first epoch", less=_NET_145,
                         more=_recipe("b7-bias"), keys=("network.bias",)))),
    Claim(id="B8", claim="any layer removed; a middle layer", printed="no number; about -2 points of top-1",
          needs="ImageNet", comparisons=(
              _without("with less without", ("network.without",), "b8-conv2", "b8-conv3", "b8-conv4",
                       printed=(-0.02,)),
              _without("with less without", ("network.without",), "b8-conv1", "b8-conv5"))),
)  # fmt: skip
