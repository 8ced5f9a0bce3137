import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from clouds import schema
from clouds.plots import common


def panel(ax, name="a line", y=(0, 2)):
    ax.plot(range(len(y)), y, label=name, color=common.INK)
    ax.bar([0], [1], color=common.PAPER, edgecolor=schema.CLOUDS.colours[0])
    ax.set(title="A title", xlabel="x", ylabel="y")
    common.legend(ax)


def test_panels_are_arranged_row_by_row_and_saved(tmp_path):
    figure = common.arrange([panel] * 6, columns=3, size=(2, 3), title="all")
    common.save(figure, tmp_path / "panels.png")
    assert [path.name for path in tmp_path.iterdir()] == ["panels.png"]
    assert cv2.imread(str(tmp_path / "panels.png")).shape == (600, 600, 3)


def test_an_svg_takes_the_colours_of_its_page():
    svg = common.svg(panel)
    assert (
        "currentColor" in svg
        and "var(--back)" in svg
        and schema.CLOUDS.colours[0] in svg
    )
    for colour in (common.INK, common.PAPER, common.GREY, "#000000", "#ffffff"):
        assert colour not in svg


def test_an_svg_loads_nothing_and_styles_nothing_else_of_its_page():
    svg = common.svg(panel)
    assert not re.search(r"https?:|@import|url\((?!#)|<script|<style", svg)
    assert svg.startswith("<svg viewBox=") and "width=" not in svg.partition(">")[0]


def test_ids_differ_between_panels_and_not_between_calls():
    def ids(name):
        svg = common.svg(lambda ax: panel(ax, name))
        own = re.findall(r' id="([^"]+)"', svg)
        assert len(own) == len(set(own)) > 2
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= set(own)
        return set(own)

    assert ids("one") == ids("one")
    assert not ids("one") & ids("another")


def test_a_panel_is_described_for_screen_readers():
    svg = common.svg(lambda ax: panel(ax, y=(0.5, 3, 2)))
    described = 'aria-label="A title: y over x. a line: from 0.5 to 2, highest 3."'
    assert 'role="img"' in svg and described in svg
    assert "a line: empty" in common.svg(lambda ax: panel(ax, y=()))
    assert "a line: empty" in common.svg(lambda ax: panel(ax, y=(np.nan,)))


@pytest.mark.parametrize("name", ["_runs/a", "$x$", "<b>&", "a_{1}$"])
def test_any_name_is_shown_as_it_is(name):
    class Text(HTMLParser):
        shown = ""

        def handle_data(self, data):
            self.shown += data

    page = Text()
    page.feed(common.svg(lambda ax: panel(ax, name)))
    assert name in page.shown


def test_the_ends_of_long_names_are_shown():
    svg = common.svg(lambda ax: panel(ax, "/home/someone" * 20 + "/runs/first"))
    assert "/runs/first</text>" in svg and "/home/someone" * 4 + "</text>" not in svg


def test_lines_of_one_colour_differ_by_their_dashes():
    styles = [common.style(k)["linestyle"] for k in range(len(common.DASHES) + 1)]
    assert len(set(styles)) == len(common.DASHES)
    assert styles[-1] == styles[0]
    assert common.style(0, 2)["color"] == schema.CLOUDS.colours[2]
