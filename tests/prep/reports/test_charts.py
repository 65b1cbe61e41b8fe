import re

import pytest

from alexkit.prep.reports.charts import bar_chart


def test_bars_have_their_heights_names_and_an_axis_with_numbers() -> None:
    chart = bar_chart([0, 30, 60], ["a", "<b>", "c"], label="three bars", x_label="class", ends=("0", "2"))
    heights = [float(height) for height in re.findall(r"<rect [^>]*height='([\d.]+)'", chart)]
    assert heights[0] == 0 and heights[2] == 2 * heights[1] > 0
    assert re.findall(r"<text [^>]*>([\d,]+)</text>", chart) == ["0", "30", "60", "0", "2"]
    assert "&lt;b&gt;: 30" in chart and "aria-label='three bars'" in chart


@pytest.mark.parametrize(("value", "top"), [(1, 1), (3, 4), (60, 60), (1299, 1300), (1300, 1300), (5001, 5100)])
def test_the_axis_ends_at_a_round_number_with_a_whole_half(value: int, top: int) -> None:
    chart = bar_chart([value], ["x"], label="", x_label="", ends=("", ""))
    assert f">{top:,}</text>" in chart
