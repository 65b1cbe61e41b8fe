"""Laws of the curves: lowest error and last values are written, in colors that can be read, for one run or many."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from alexkit.errors import InputError
from alexkit.model.evaluation import figures

ERRORS = [0.9, 0.41, 0.5]


def write_run(folder: Path, validated: bool = True) -> Path:
    folder.mkdir()
    lines: list[dict[str, Any]] = []
    for epoch, error in enumerate(ERRORS, 1):
        lines.append({"kind": "train", "step": 10 * epoch, "loss": 3.25 / epoch, "top1_error": error, "rate": 0.01})
        if validated:
            val = {"kind": "val", "step": 10 * epoch, "epoch": epoch, "loss": 2.0, "top5_error": error / 4}
            lines.append({**val, "top1_error": error})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def texts(figure: Any) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    saved: list[Any] = []
    save = figures.save_figure

    def keep(figure: Any, path: Path) -> None:
        saved.append(figure)
        save(figure, path)

    monkeypatch.setattr(figures, "save_figure", keep)
    return saved


def test_a_run_shows_its_lowest_error_and_its_last_values(tmp_path: Path, drawn: list[Any]) -> None:
    figures.draw_curves(write_run(tmp_path / "one"), 10)
    words = texts(drawn[0])
    assert "validation, top-1 (best 41.0 % at 2)" in words
    assert words.count("50.0 %") == 2 and {"12.5 %", "1.08", "2.00"} <= set(words)
    assert (tmp_path / "one/curves.png").read_bytes()[:4] == b"\x89PNG"


def test_a_run_of_few_classes_has_no_line_of_top5(tmp_path: Path, drawn: list[Any]) -> None:
    run = write_run(tmp_path / "one")
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if key != "top5_error"} for row in rows]
    (run / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    figures.draw_curves(run, 10)
    assert not any("top-5" in words for words in texts(drawn[0]))


def test_a_run_without_validations_is_drawn(tmp_path: Path, drawn: list[Any]) -> None:
    run = write_run(tmp_path / "one", validated=False)
    figures.draw_curves(run, 10)
    assert figures.draw_runs(tmp_path / "all.png", [run]) == []


def test_several_runs_are_in_one_chart(tmp_path: Path, drawn: list[Any]) -> None:
    runs = [write_run(tmp_path / name) for name in ("one", "two")]
    assert figures.draw_runs(tmp_path / "all.png", runs) == [(run, 41.0, 2, 50.0) for run in runs]
    assert {f"{name} (best 41.0 % at 2)" for name in ("one", "two")} <= set(texts(drawn[0]))


def test_a_folder_without_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder; name a folder that 'alextrain' wrote"):
        figures.draw_runs(tmp_path / "all.png", [tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no training numbers in log\.jsonl"):
        figures.draw_runs(tmp_path / "all.png", [tmp_path / "empty"])


def luminance(color: str) -> float:
    parts = [int(part, 16) / 255 for part in re.findall("[0-9a-f]{2}", color)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_numbers_can_be_read_on_white() -> None:
    for color in (figures.TRAIN_COLOR, figures.VAL_COLOR, figures.RATE_COLOR, *figures.RUN_COLORS):
        assert 1.05 / (luminance(color) + 0.05) >= 4.5, color
