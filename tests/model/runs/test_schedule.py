from math import inf, nan

import pytest

from alexkit.model.runs.schedule import Plateau, Schedule


def test_a_plateau_drops_the_rate_three_times_and_no_more() -> None:
    schedule, plateau = Schedule(patience=2), Plateau()
    factors = []
    for error in [0.9, 0.8] + 12 * [0.8]:
        plateau = plateau.after(error, schedule)
        factors.append(schedule.factor(epoch=1, epochs=90, drops=plateau.drops))
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001])


def test_an_error_that_falls_enough_keeps_the_rate() -> None:
    schedule, plateau = Schedule(patience=1, min_gain=0.005), Plateau()
    for error in [0.9, 0.89, 0.88, 0.87]:
        plateau = plateau.after(error, schedule)
    assert plateau.drops == 0
    assert plateau.after(0.8695, schedule).drops == 1


def test_an_error_that_falls_a_little_every_epoch_keeps_the_rate() -> None:
    # 0.2 points an epoch from 60 %: each epoch gains less than min_gain, two together gain enough.
    schedule, plateau = Schedule(patience=5, min_gain=0.005), Plateau()
    for epoch in range(50):
        plateau = plateau.after(0.60 - 0.002 * epoch, schedule)
    assert plateau.drops == 0


def test_epochs_of_guessing_do_not_count() -> None:
    schedule, plateau = Schedule(patience=2), Plateau()
    for _ in range(40):
        plateau = plateau.after(0.9, schedule, guessing=True)
    assert plateau == Plateau()
    for error in [0.8, 0.8, 0.8]:
        plateau = plateau.after(error, schedule)
    assert plateau.drops == 1


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Schedule(kind="steps", at_epochs=(25, 51, 79)), {0: 1, 24.99: 1, 25: 0.1, 51: 0.01, 78: 0.01, 90: 0.001}),
        (Schedule(kind="quarters", divide_by=6.3), {0: 1, 22: 1, 23: 1 / 6.3, 46: 1 / 6.3**2, 89: 1 / 6.3**3}),
        (Schedule(kind="linear"), {0: 1, 23: 0.75, 46: 0.5, 92: 0}),
        (Schedule(kind="cosine"), {0: 1, 46: 0.5, 92: 0}),
        (Schedule(kind="constant"), {0: 1, 91: 1}),
        (Schedule(kind="linear", warmup_epochs=4), {1: 0.25, 2: 0.5, 46: 0.5}),
    ],
)
def test_schedules_have_their_factors(schedule: Schedule, factors: dict[float, float]) -> None:
    for epoch, factor in factors.items():
        assert schedule.factor(epoch=epoch, epochs=92, drops=0) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "steps"}, "needs at_epochs"),
        ({"kind": "steps", "at_epochs": (5, 3)}, "must increase"),
        ({"kind": "steps", "at_epochs": (-3, 5)}, r"at_epochs must increase and be at least 0, got \[-3, 5\]"),
        ({"divide_by": 1.0}, "divide_by\n.* greater than 1"),
        ({"divide_by": inf}, "divide_by\n.*finite number"),
        ({"drops": -1}, "drops\n.*greater than or equal to 0"),
        ({"patience": 0}, "patience\n.*greater than or equal to 1"),
        ({"min_gain": 1.0}, "min_gain\n.*less than 1"),
        ({"min_gain": nan}, "min_gain\n.*finite number"),
        ({"warmup_epochs": -1.0}, "warmup_epochs\n.*greater than or equal to 0"),
        ({"warmup_epochs": nan}, "warmup_epochs\n.*finite number"),
    ],
)
def test_impossible_schedules_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Schedule(**settings)  # type: ignore[arg-type]
