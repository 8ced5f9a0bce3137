import math

import pytest

from clouds import schema
from clouds.errors import InputError
from clouds.report import html


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Renders the text of a template."""
    import jinja2

    def render(text, **fields):
        loader = jinja2.DictLoader({"page.html": text})
        monkeypatch.setattr(jinja2, "PackageLoader", lambda package: loader)
        html.write(
            "page.html", tmp_path / "out/page.html", schema.CLOUDS.labels, **fields
        )
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["page.html"]
        return (tmp_path / "out/page.html").read_text()

    return render


def test_text_is_escaped(page):
    assert page("<p>{{ x }}</p>", x="<b>&'") == "<p>&lt;b&gt;&amp;&#39;</p>"


def test_labels_and_their_colours_are_the_schemas(page):
    text = page("{{ labels | join }} {{ colours | join }}")
    assert text == f"{''.join(schema.CLOUDS.labels)} {''.join(schema.CLOUDS.colours)}"


def test_a_missing_variable_is_an_error(page):
    with pytest.raises(Exception, match="'x' is undefined"):
        page("{{ x }}")


@pytest.mark.parametrize("there", ["", "notes", "clouds report"])
def test_a_page_replaces_only_an_earlier_one_of_its_template(page, tmp_path, there):
    page('<meta name="generator" content="{{ generator }}">')
    path = tmp_path / "out/page.html"
    html.check("page.html", path)
    html.check("page.html", tmp_path / "new.html")
    path.write_text(f'<meta name="generator" content="{there}">')
    for place in (path, path.parent):
        with pytest.raises(InputError, match="clouds page did not write it. Give"):
            html.check("page.html", place)


def test_a_page_that_is_too_large_is_refused(page, tmp_path, monkeypatch):
    monkeypatch.setattr(html, "LARGEST", 100)
    with pytest.raises(InputError, match="would have .* Show fewer images"):
        page("{{ x }}", x="a" * 101)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (html.number, 0.12345, "0.123"),
        (lambda value: html.number(value, "+"), 0.12345, "+0.123"),
        (html.cell, 12345, "12,345"),
        (html.cell, 0.125, "12.5%"),
        (html.cell, "Fish", "Fish"),
        *((f, None, "–") for f in (html.number, html.cell)),
        *((f, math.nan, "–") for f in (html.number, html.cell)),
    ],
)
def test_numbers_are_formatted_alike_everywhere(function, value, expected):
    assert function(value) == expected


def test_an_interval_is_shown_by_its_ends():
    found = {"value": 0.1, "low": -0.01234, "high": 0.2}
    assert html.interval(found) == "-0.012 to 0.200"
    assert html.interval(found, "+") == "-0.012 to +0.200"
    found["high"] = -0.0004
    assert html.interval(found, "+") == "-0.012 to -0.0004"
    for none in (None, math.nan):
        assert html.interval(found | {"low": none, "high": none}) == ""
