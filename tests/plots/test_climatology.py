import sys
import types

import cv2
import numpy as np

from clouds.plots.climatology import draw_frequencies


def draw(path):
    frequency = np.full((3, 4, 2), 0.5)
    frequency[0, 0] = np.nan
    edges = np.arange(4) * 5.0, 170 + np.arange(5) * 5.0
    draw_frequencies(frequency, *edges, ("Fish", "Sugar"), path, title="2020")
    return cv2.imread(str(path))[..., ::-1].astype(int)


def test_frequencies_become_a_map_of_each_label_without_cartopy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cartopy.io", None)
    picture = draw(tmp_path / "a.png")
    # Both maps have 11 of 12 cells in the colour of the highest frequency.
    yellow = (abs(picture - [253, 231, 37]) < 6).all(-1)
    assert yellow.sum() > 0.1 * yellow.size


def test_coastlines_are_drawn_on_both_sides_of_the_antimeridian(tmp_path, monkeypatch):
    line = types.SimpleNamespace(coords=[(-178.0, 2.0), (-174.0, 9.0)])
    reader = types.SimpleNamespace(
        natural_earth=lambda *_: "coast.shp",
        Reader=lambda _: types.SimpleNamespace(geometries=lambda: [line]),
    )
    bare = draw(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "cartopy", types.ModuleType("cartopy"))
    module = types.ModuleType("cartopy.io")
    module.shapereader = reader
    monkeypatch.setitem(sys.modules, "cartopy.io", module)
    changed = (draw(tmp_path / "b.png") != bare).any(-1)
    assert changed.sum() > 50


def test_a_map_is_drawn_where_coastlines_cannot_be_downloaded(
    tmp_path, monkeypatch, caplog
):
    def fail(*_):
        raise OSError("no network")

    module = types.ModuleType("cartopy.io")
    module.shapereader = types.SimpleNamespace(natural_earth=fail)
    monkeypatch.setitem(sys.modules, "cartopy", types.ModuleType("cartopy"))
    monkeypatch.setitem(sys.modules, "cartopy.io", module)
    draw(tmp_path / "a.png")
    assert "no coastlines: no network" in caplog.text
