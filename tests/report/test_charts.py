from xml.etree import ElementTree

from simulations.report.charts import line_chart, roc_chart


def parse(svg):
    return ElementTree.fromstring(svg)  # noqa: S314 - our own drawing


def test_every_series_is_a_line_with_its_name():
    chart = parse(line_chart("cycle < 1", {"a": [(1, 3), (2, 1)], "b": [(1, 2)]}, {"a": "#123456"}))
    assert [title.text for title in chart.iter("title")] == ["a", "b"]
    assert chart.find(".//path").get("stroke") == "#123456"


def test_falling_losses_fall_on_the_page():
    chart = parse(line_chart("loss", {"a": [(1, 3.0), (2, 1.0)]}, {}))
    first, second = (float(dot.get("cy")) for dot in chart.iter("circle"))
    assert first < second


def test_a_loss_that_is_not_finite_leaves_no_mark_and_nothing_leaves_no_chart():
    assert "nan" not in line_chart("loss", {"a": [(1, float("nan")), (2, 1.0)]}, {})
    assert line_chart("loss", {"a": []}, {}) == ""


def test_the_curve_of_chance_is_drawn_beside_the_others():
    chart = parse(roc_chart({"identifier": [(0, 0), (0, 1), (1, 1)]}, {}))
    assert any(path.get("class") == "chance" for path in chart.iter("path"))
