"""The paper's claims beside the results of our runs: the table of docs/claims, which is always generated.

A run serves the claims listed in its recipe, and a printed error only if it was trained on that error's data. The
result and status in a row follow from confidence intervals alone.
"""

from collections.abc import Mapping, Sequence

from ...network.switches import Switches
from ...network.tables import wiring
from ...network.wiring import sizes
from ...runs.load import built_in_recipes, load_about
from .alike import changes_in_words, changes_of
from .effects import Effect, effects, in_words, ten_views_effects
from .estimates import VIEW_WORDS, Estimate, Group, groups_of
from .paper import CLAIMS, Claim
from .run_records import Average, RunRecord, Scored

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
    comparisons = [] if claim.ten_views is None else ten_views_effects(claim.ten_views, groups)
    comparisons += [effect for comparison in claim.comparisons for effect in effects(comparison, groups)]
    if comparisons:
        used = list({id(group): group for effect in comparisons for group in effect.groups}.values())
        return (*_row("; ".join(effect.words for effect in comparisons), used), _status(comparisons))
    if claim.together:
        return _together(claim, own, groups, needs)
    if claim.printed_errors:
        return _alone(claim, own, needs)
    scored = [group for group in own if group.view]
    return (*_row("; ".join(_error(group, group.view or "center") for group in scored), scored), needs)


def _alone(claim: Claim, own: Sequence[Group], needs: str) -> tuple[str, str, str, str, str]:
    """Like `_ours`, for claims about the errors of one network."""
    scored = [group for group in own if group.view and _is_of(claim, group.first)]
    if not scored:
        return "", "", "", "", needs
    verdicts = [_verdicts(claim, group) for group in scored if not changes_of(group.first.recipe)]
    status = in_words(max(verdicts, key=_num_reproduced)) if verdicts else "needs the recipe unchanged"
    return (*_row("; ".join(_errors(claim, group) for group in scored), scored), status)


def _together(
    claim: Claim, own: Sequence[Group], groups: Sequence[Group], needs: str
) -> tuple[str, str, str, str, str]:
    """Like `_ours`, for claims about averages of networks; errors of single networks if no averages were evaluated."""
    found = {average.members: average for group in groups for record in group.records for average in record.together}
    by_weights = {record.weights_sha256: record for group in groups for record in group.records}
    words: list[str] = []
    used: list[Group] = []
    verdicts: list[dict[str, str]] = []
    for members, average in sorted(found.items()):
        known = [by_weights[member] for member in members if member in by_weights]
        counts = [sum(record.recipe.name in names for record in known) for names, _ in claim.together]
        if not (len(set(members)) == len(known) == sum(counts) and all(counts)):
            continue  # networks of other recipes, a network used twice, or runs that were not given
        if not all(_is_of(claim, record) and average in record.together for record in known):
            continue  # other data, or images that some of the networks were trained on
        views = [view for view in VIEW_WORDS if view in average.scores]
        words.append(f"{len(members)} networks together {_of_average(claim, average, views[-1])}")
        used.append(Group(records=tuple(known)))
        whole = counts == [number for _, number in claim.together]
        if whole and not any(changes_of(record.recipe) for record in known):
            verdicts.append(_verdicts(claim, average))
    scored = [] if words else [group for group in own if group.view and _is_of(claim, group.first)]
    number = sum(number for _, number in claim.together)
    if verdicts:
        status = in_words(max(verdicts, key=_num_reproduced))
    else:
        status = f"needs {number} networks together" if used or scored else needs
    return (*_row("; ".join(words or [_errors(claim, group) for group in scored]), used or scored), status)


def _is_of(claim: Claim, record: RunRecord) -> bool:
    """Whether a record is of a network that a claim's printed errors are about: its data and no other wiring."""
    changed = any(key.startswith("network.") for key in changes_of(record.recipe))
    return record.data == claim.benchmark.data and not changed


def _verdicts(claim: Claim, found: Group | Average) -> dict[str, str]:
    """The verdict on each printed error by its name, or what is missing to judge it."""
    verdicts: dict[str, str] = {}
    for printed in claim.printed_errors:
        if missing := _missing(claim, found, printed.view):
            verdicts[" / ".join(f"{100 * error:.1f}" for error in printed.errors) + " %"] = missing
            continue
        for name, error, estimate in zip(
            ("top-1", "top-5"), printed.errors, _estimates(found, printed.view), strict=False
        ):
            verdicts[f"{name} by {VIEW_WORDS[printed.view]}"] = estimate.reaches(error)
    return verdicts


def _missing(claim: Claim, found: Group | Average, view: str) -> str:
    """What is missing to judge an error with a kind of views; "" if nothing is."""
    if view not in _scores(found):
        return f"needs {VIEW_WORDS[view]}"
    score = _scores(found)[view]
    if score.split != claim.benchmark.split:
        return f"needs --split {claim.benchmark.split}"
    return "" if claim.benchmark.is_of(claim.benchmark.data, score) else f"needs {claim.benchmark.images:,} images"


def _scores(found: Group | Average) -> dict[str, Scored]:
    """Error rates by kind of views; of a group, those that all runs have on the same images."""
    if isinstance(found, Average):
        return found.scores
    return {view: score for view, score in found.first.scores.items() if found.split(view) is not None}


def _estimates(found: Group | Average, view: str) -> list[Estimate]:
    if isinstance(found, Group):
        return found.errors(view)
    score = found.scores[view]
    errors = [score.top1_error, *([] if score.top5_error is None else [score.top5_error])]
    return [Estimate.of([error], score.images) for error in errors]


def _num_reproduced(verdicts: Mapping[str, str]) -> int:
    return sum(verdict == "reproduced" for verdict in verdicts.values())


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
    """Errors with all printed kinds of views that were evaluated; otherwise with the most views."""
    views: list[str] = [one.view for one in claim.printed_errors if group.split(one.view) is not None]
    errors = "; ".join(
        f"{_percent(group.errors(view))}, {VIEW_WORDS[view]}{_of(claim, group.first.scores[view])}"
        for view in views or [group.view or "center"]
    )
    changes = changes_of(group.first.recipe)
    return f"{group.name} {errors}{f' (changed: {changes_in_words(changes)})' if changes else ''}"


def _of_average(claim: Claim, average: Average, view: str) -> str:
    return f"{_percent(_estimates(average, view))}, {VIEW_WORDS[view]}{_of(claim, average.scores[view])}"


def _error(group: Group, view: str) -> str:
    return f"{group.name} {_percent([group.error(view)])}, {VIEW_WORDS[view]}"


def _percent(errors: Sequence[Estimate]) -> str:
    return " / ".join(f"{100 * error.value:.2f} ± {100 * error.half:.2f}" for error in errors) + " %"


def _of(claim: Claim, score: Scored) -> str:
    """The split that was scored, if the claim is about another one."""
    return f" of {score.split}" if score.split not in ("", claim.benchmark.split) else ""


def _status(found: Sequence[Effect]) -> str:
    """The verdict of the intervals, for each effect if they differ."""
    return "; ".join(dict.fromkeys(f"{effect.verdict} on {effect.groups[0].first.data}" for effect in found))
