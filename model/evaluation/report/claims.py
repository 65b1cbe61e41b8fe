"""The paper's claims beside the results of our runs: the table of docs/claims, which is always generated.

A run serves the claims listed in its recipe. The result and status in a row follow from confidence intervals alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from ...network.switches import Switches
from ...network.tables import wiring
from ...network.wiring import sizes
from ...runs.load import built_in_recipes, load_about
from .effects import VIEW_WORDS, Comparison, Effect, Estimate, Group, effects, groups_of, ten_views_effects
from .run_records import RunRecord, Scored

Needs = Literal["nothing", "CIFAR-10", "ImageNet", "other data"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One claim of the paper."""

    id: str
    """The id used in the recipes' [about] sections."""
    claim: str
    """The claim in a few words."""
    printed: str
    """The number printed in the paper."""
    needs: Needs
    """The data needed to test it."""
    top1_error: float | None = None
    """The printed top-1 error with ten views, 0-1, if the claim is about one network or one average."""
    split: Literal["val", "test"] = "val"
    """The split of that error."""
    data: str = "ILSVRC"
    """The training set for that error, as named in records."""
    together: tuple[tuple[frozenset[str], int], ...] = ()
    """For averages: the recipes of the networks, and the number of each. Empty for one network."""
    comparisons: tuple[Comparison, ...] = ()
    """The effects that it claims."""


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


def _without(what: str, keys: tuple[str, ...], *names: str) -> tuple[Comparison, ...]:
    return (Comparison(what=what, measure="error", less=_NET_145, more=_recipe(*names), keys=keys),)


CLAIMS = (
    Claim(id="T1", claim="ILSVRC 2010 test set, ten views; one view", printed="37.5 / 17.0; 39.0 / 18.3 %",
          needs="ImageNet", top1_error=0.375, split="test"),
    Claim(id="T2a", claim="ILSVRC 2012, one network", printed="40.7 / 18.2 %", needs="ImageNet", top1_error=0.407),
    Claim(id="T2b", claim="ILSVRC 2012, five networks", printed="38.1 / 16.4 %", needs="ImageNet",
          top1_error=0.381, together=((_PLAIN, 5),)),
    Claim(id="T2c", claim="ILSVRC 2012, one pre-trained network", printed="39.0 / 16.6 %", needs="other data",
          top1_error=0.390),
    Claim(id="T2d", claim="ILSVRC 2012, seven networks", printed="36.7 / 15.4 %", needs="other data",
          top1_error=0.367, together=((_PLAIN, 5), (_PRETRAINED, 2))),
    Claim(id="T3", claim="ImageNet Fall 2009, half and half", printed="67.4 / 40.9 %", needs="other data",
          top1_error=0.674, data="10,184 classes"),
    Claim(id="F1", claim="ReLU reaches 25 % training error sooner than tanh", printed="6 times", needs="CIFAR-10",
          comparisons=(Comparison(what="tanh against ReLU", measure="epochs to 25 %", less=_f1("relu"),
                                  more=_f1("tanh"),
                                  keys=("network.activation", "training.rate", "training.epochs")),)),
    Claim(id="F2", claim="sizes of the network", printed="60 million parameters, 650,000 neurons", needs="nothing"),
    Claim(id="F3", claim="one column's kernels are gray, the other's colored", printed="picture", needs="ImageNet"),
    Claim(id="F4", claim="likeliest classes, nearest images", printed="picture", needs="ImageNet"),
    Claim(id="B1", claim="two GPUs against one", printed="-1.7 / -1.2 points", needs="ImageNet",
          comparisons=(Comparison(what="two columns less one", measure="error", less=_recipe("t1"),
                                  more=_recipe("b1"), keys=("network.kind",)),)),
    Claim(id="B2", claim="response normalization", printed="-1.4 / -1.2 points; CIFAR-10: 13 to 11 %",
          needs="CIFAR-10", comparisons=(
              Comparison(what="11 % less 13 % network", measure="error", less=_recipe("cifar10-11"),
                         more=_recipe("cifar10-13"), keys=("network.kind",)),
              Comparison(what="18 % less 19 % network", measure="error", less=_recipe("cifar10-18"),
                         more=_recipe("cifar10-19-140"), keys=("network.kind",)),
              *_without("with less without", ("network.norm",), "b2"))),
    Claim(id="B3", claim="overlapping pooling", printed="-0.4 / -0.3 points", needs="ImageNet",
          comparisons=_without("3/2 less 2/2", ("network.pooling",), "b3")),
    Claim(id="B4", claim="ten views against one; crops and mirror images against overfitting",
          printed="-1.5 / -1.3 points; no number", needs="ImageNet", comparisons=(
              *_without("with less without crops and mirror images", ("data.crop_draw", "data.flip"), "b4"),
              Comparison(what="mirror images less none", measure="error", less=_flips(True), more=_flips(False),
                         keys=("data.flip",)))),
    Claim(id="B5", claim="color noise", printed="over 1 point of top-1", needs="ImageNet",
          comparisons=_without("with less without", ("data.jitter", "training.changes"), "b5")),
    Claim(id="B6", claim="dropout doubles the steps and stops overfitting", printed="twice", needs="ImageNet",
          comparisons=_without("with less without", ("network.dropout",), "b6")),
    Claim(id="B7", claim="weight decay lowers the training error; biases of 1 speed the start", printed="no number",
          needs="CIFAR-10", comparisons=(
              Comparison(what="decay less none", measure="training error", less=_decay(False), more=_decay(True),
                         keys=("training.weight_decay",)),
              Comparison(what="decay less none", measure="training error", less=_NET_145,
                         more=_recipe("b7-decay"), keys=("training.weight_decay",)),
              Comparison(what="biases of 1 less 0", measure="training error of the first epoch", less=_NET_145,
                         more=_recipe("b7-bias"), keys=("network.bias",)))),
    Claim(id="B8", claim="a middle layer removed", printed="about -2 points of top-1", needs="ImageNet",
          comparisons=_without("with less without", ("network.without",), "b8-conv2", "b8-conv3", "b8-conv4")),
)  # fmt: skip


COLUMNS = ("id", "claim", "printed", "ours", "data", "seeds", "hours", "status")


def claims_rows(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """One row per claim, with the keys `COLUMNS`; `ours` holds means with 95 % intervals."""
    groups = groups_of(records)
    served = {name: load_about(name).claims for name in built_in_recipes()}
    rows = []
    for claim in CLAIMS:
        own = [group for group in groups if claim.id in served.get(group.first.recipe.name, ())]
        cells = (claim.id, claim.claim, claim.printed, *_ours(claim, own, groups))
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    return rows


def claims_table(records: Sequence[RunRecord]) -> str:
    """The rows as a Markdown table."""
    heads = [head if head != "ours" else "ours, 95 % interval" for head in COLUMNS]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(COLUMNS) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row.values())} |" for row in claims_rows(records)])


def _ours(claim: Claim, own: Sequence[Group], groups: Sequence[Group]) -> tuple[str, str, str, str, str]:
    """The cells for our result, its data, number of seeds and hours, and the status of the claim."""
    needs = "not run yet" if claim.needs == "CIFAR-10" else f"needs {claim.needs}"
    if claim.needs == "nothing":
        table = sizes(wiring(Switches()), 1000)
        parameters, neurons = sum(s.weights + s.biases for s in table), sum(s.neurons for s in table)
        return f"{parameters:,} parameters, {neurons:,} neurons", "", "", "", "reproduced"
    if claim.id == "F3":
        found = [group for group in groups if group.first.color_shares]
        words = "; ".join(map(_color, found))
        return (*_row(words, found), needs)
    comparisons = [effect for comparison in claim.comparisons for effect in effects(comparison, groups)]
    if claim.id == "B4":
        comparisons = ten_views_effects(groups) + comparisons
    if comparisons:
        used = list({id(group): group for effect in comparisons for group in effect.groups}.values())
        return (*_row("; ".join(effect.words for effect in comparisons), used), _status(comparisons))
    if claim.together:
        return _together(claim, own, groups, needs)
    scored = [group for group in own if group.view]
    if not scored:
        return "", "", "", "", needs
    right = [group for group in scored if group.first.data == claim.data]
    errors = [(group.split("ten"), group.error("ten")) for group in right if group.view == "ten"]
    status = _printed(claim, errors) if right and claim.top1_error is not None else needs
    return (*_row("; ".join(_errors(claim, group) for group in scored), scored), status)


def _together(
    claim: Claim, own: Sequence[Group], groups: Sequence[Group], needs: str
) -> tuple[str, str, str, str, str]:
    """Like `_ours`, for claims about averages of networks; errors of single networks if no averages were evaluated."""
    found = {average.members: average.scores for group in groups for record in group.records
             for average in record.together}  # fmt: skip
    by_weights = {record.weights_sha256: record for group in groups for record in group.records}
    words: list[str] = []
    used: list[Group] = []
    errors: list[tuple[str | None, Estimate]] = []
    for members, scores in sorted(found.items()):
        known = [by_weights[member] for member in members if member in by_weights]
        counts = [sum(record.recipe.name in names for record in known) for names, _ in claim.together]
        if not (len(set(members)) == len(known) == sum(counts) and all(counts)):
            continue  # networks of other recipes, a network used twice, or runs that were not given
        view, score = max(scores.items(), key=lambda item: list(VIEW_WORDS).index(item[0]))
        estimate = Estimate.of([score.top1_error], score.images)
        words.append(f"{len(members)} networks together {_percent(estimate)}, {VIEW_WORDS[view]}{_of(claim, score)}")
        used.append(Group(records=tuple(known)))
        whole = counts == [number for _, number in claim.together]
        if whole and view == "ten" and {record.data for record in known} == {claim.data}:
            errors.append((score.split, estimate))
    scored = [] if words else [group for group in own if group.view]
    right = any(group.first.data == claim.data for group in used + scored)
    number = sum(number for _, number in claim.together)
    status = _printed(claim, errors) if errors else f"needs {number} networks together" if right else needs
    return (*_row("; ".join(words or [_errors(claim, group) for group in scored]), used or scored), status)


def _row(words: str, groups: Sequence[Group]) -> tuple[str, str, str, str]:
    """The cells for the result, data, number of seeds and hours."""
    data = ", ".join(dict.fromkeys(group.first.data for group in groups))
    seeds = ", ".join(str(len(group.records)) for group in groups)
    return words, data, seeds, f"{sum(group.hours for group in groups):.1f}" if groups else ""


def _color(group: Group) -> str:
    """The fraction of the first layer's energy that is color, by column."""
    shares = " and ".join(f"{100 * share:.0f} %" for share in group.first.color_shares)
    return f"color in {group.name}: {shares}"


def _errors(claim: Claim, group: Group) -> str:
    """Top-1 error with the most views."""
    view = group.view or "center"
    error = group.error(view)
    return f"{group.name} {_percent(error)}, {VIEW_WORDS[view]}{_of(claim, group.first.scores[view])}"


def _percent(error: Estimate) -> str:
    return f"{100 * error.value:.2f} ± {100 * error.half:.2f} %"


def _of(claim: Claim, score: Scored) -> str:
    """The split that was scored, if the claim is about another one."""
    other = claim.needs != "CIFAR-10" and score.split not in ("", claim.split)
    return f" of {score.split}" if other else ""


def _status(found: Sequence[Effect]) -> str:
    """The verdict of the intervals, for each effect if they differ."""
    return "; ".join(dict.fromkeys(f"{effect.verdict} on {effect.groups[0].first.data}" for effect in found))


def _printed(claim: Claim, errors: Sequence[tuple[str | None, Estimate]]) -> str:
    """Whether an interval with ten views, on the claim's split, reaches the printed error."""
    assert claim.top1_error is not None
    if not errors:
        return "needs ten views"
    right = [error for split, error in errors if split == claim.split]
    if not right:
        return f"needs --split {claim.split}"
    return "reproduced" if min(e.value - e.half for e in right) <= claim.top1_error else "not reproduced"
