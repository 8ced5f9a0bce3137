import math

import pytest

from clouds import documents, schema
from clouds.errors import InputError


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Renders the text of a template."""
    import jinja2

    def render(text, **fields):
        loader = jinja2.DictLoader({"page.html": text})
        monkeypatch.setattr(jinja2, "PackageLoader", lambda package: loader)
        documents.write("page.html", tmp_path / "out/page.html", **fields)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["page.html"]
        return (tmp_path / "out/page.html").read_text()

    return render


def test_text_is_escaped(page):
    assert page("<p>{{ x }}</p>", x="<b>&'") == "<p>&lt;b&gt;&amp;&#39;</p>"


def test_labels_and_their_colours_are_the_schemas(page):
    text = page("{{ labels | join }} {{ colours | join }}")
    assert text == f"{''.join(schema.LABELS)} {''.join(schema.COLOURS)}"


def test_what_a_template_is_not_given_is_an_error(page):
    with pytest.raises(Exception, match="'x' is undefined"):
        page("{{ x }}")


@pytest.mark.parametrize("there", ["", "notes", "clouds report"])
def test_a_page_replaces_none_but_an_earlier_one_of_its_kind(page, tmp_path, there):
    page('<meta name="generator" content="{{ generator }}">')
    path = tmp_path / "out/page.html"
    documents.check("page.html", path)
    documents.check("page.html", tmp_path / "new.html")
    path.write_text(f'<meta name="generator" content="{there}">')
    for place in (path, path.parent):
        with pytest.raises(InputError, match="which clouds page did not write. Give"):
            documents.check("page.html", place)


def test_every_figure_that_pages_show_is_explained():
    assert list(documents.MEANINGS) == list(documents.FIGURES)


def test_a_page_that_is_too_large_is_refused(page, tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "LARGEST", 100)
    with pytest.raises(InputError, match="at most .* Show fewer images"):
        page("{{ x }}", x="a" * 101)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (documents.number, 0.12345, "0.123"),
        (documents.signed, 0.12345, "+0.123"),
        (documents.percent, 0.128, "13%"),
        (documents.shown, 12345, "12,345"),
        (documents.shown, 0.125, "12.5%"),
        (documents.shown, "Fish", "Fish"),
        *((f, None, "–") for f in (documents.number, documents.percent)),
        *((f, math.nan, "–") for f in (documents.signed, documents.shown)),
    ],
)
def test_numbers_are_shown_alike_everywhere(function, value, expected):
    assert function(value) == expected


def test_an_interval_is_shown_by_its_ends_and_none_by_nothing():
    found = {"value": 0.1, "low": -0.01234, "high": 0.2}
    assert documents.interval(found) == "-0.012 to 0.200"
    assert documents.interval(found, "+") == "-0.012 to +0.200"
    found["high"] = -0.0004
    assert documents.interval(found, "+") == "-0.012 to -0.0004"
    for none in (None, math.nan):
        assert documents.interval(found | {"low": none, "high": none}) == ""
