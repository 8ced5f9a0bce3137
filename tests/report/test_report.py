import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from helpers import small
from helpers.edits import edit

from clouds import schema
from clouds.cli import main
from clouds.config.rule import Rule
from clouds.plots import training
from clouds.runs.run_folder import WEIGHTS


class Elements(HTMLParser):
    """The elements of a page, by their attributes, and its text."""

    def __init__(self, html):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def folder(evaluated, records, sample, tmp_path_factory):
    """A run with all that a report shows, in a folder of an awkward name."""
    folder = tmp_path_factory.mktemp("runs") / "<b>&first"
    shutil.copytree(evaluated / "a", folder)
    columns = ["epoch", *(p + name for name in training.METRICS for p in ("", "val_"))]
    columns += [f"val_dice_{label.lower()}" for label in schema.CLOUDS.labels]
    rows = [",".join(columns), *(f"{k}{',0.5' * (len(columns) - 1)}" for k in (0, 1))]
    (folder / "history.csv").write_text("\n".join(rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clouds.models.unet.build", small.build_smooth)
        flags = ["--records", str(records), "--run", str(folder)]
        assert main.main(["evaluate", *flags, "--tune"]) == 0
        csv = str(sample / "train.csv")
        assert main.main(["describe", "--csv", csv, "--out", str(folder)]) == 0
        assert main.main(["report", "--run", str(folder), "--gallery", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return Elements((folder / "report.html").read_text())


def test_the_page_holds_every_part(page, folder):
    ids = {attributes.get("id") for _, attributes in page.found}
    wanted = {"data", "training", "metrics", "confusion", "tuning", "gallery", "masks"}
    assert wanted <= ids
    assert "bin/" not in page.text
    known = json.loads((folder / "metrics.json").read_text())
    for label in (*schema.CLOUDS.labels, "mean"):
        found = known["figures"]["dice_post"][label]
        shown = f"{found['value']:.3f}{found['low']:.3f} to {found['high']:.3f}"
        assert shown in page.text
    assert f"{known['confusion']['shares'][4][4]:.1%}" in page.text
    tuned = json.loads((folder / "tuning.json").read_text())
    expected = tuned["dice"]["cross_fitted"]["mean"]["value"]
    assert f"{expected:.3f} expected competition Dice on new images" in page.text
    for label in schema.CLOUDS.labels:
        expected = tuned["dice"]["cross_fitted"][label]["value"]
        assert f"{label}{expected:.3f}" in page.text
    assert "20 images" in page.text
    for label, name in enumerate(schema.CLOUDS.labels):
        shown = f"{name} {Rule(**tuned['rule']).describe_label(label)}"
        assert any(shown in svg["aria-label"] for svg in page.of("svg") if len(svg) > 2)


def test_the_page_loads_nothing_and_runs_no_script(page, folder):
    text = (folder / "report.html").read_text()
    assert not re.search(r"https?:|@import|url\((?!#)|<script|javascript:", text)
    for tag, attributes in page.found:
        assert tag not in ("script", "iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "srcset", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
    assert len(text) < 15e6


def test_names_are_escaped(page, folder):
    text = (folder / "report.html").read_text()
    assert folder.name not in text
    assert "&lt;b&gt;&amp;first" in text
    assert not page.of("b&first")


def test_ids_are_unique_and_references_to_them_resolve(page):
    ids = [a["id"] for _, a in page.found if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.found:
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_the_page_is_accessible_to_screen_readers(page):
    for attributes in page.of("svg"):
        hidden = attributes.get("aria-hidden") == "true"
        assert hidden or (attributes["role"] == "img" and attributes["aria-label"])
    assert all(attributes.get("scope") for attributes in page.of("th"))
    assert page.of("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in page.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    pairs = zip(levels, levels[1:], strict=False)
    assert all(after <= before + 1 for before, after in pairs)


def test_colours_are_those_of_the_labels(folder):
    text = (folder / "report.html").read_text()
    for k, colour in enumerate(schema.CLOUDS.colours):
        assert f"--k{k}: {colour};" in text


def test_for_missing_parts_the_commands_are_named(evaluated, tmp_path, capsys):
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copy(evaluated / "a/config.json", folder)
    assert main.main(["report", "--run", str(folder)]) == 0
    printed = capsys.readouterr().out
    text = Elements((folder / "report.html").read_text()).text
    for command in ("describe --csv", "train --run", "evaluate --records"):
        assert f"bin/{command}" in text
        assert f"bin/{command}" in printed
    assert "--tune" in text


def test_an_evaluation_of_other_weights_is_left_out(
    folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("clouds.models.unet.build", small.build_smooth)
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    assert main.main(["report", "--run", str(run), "--gallery", "1"]) == 0
    assert "without evaluation" not in capsys.readouterr().out
    with (run / WEIGHTS).open("ab") as file:
        file.write(b"more")
    assert main.main(["report", "--run", str(run)]) == 0
    shown = capsys.readouterr().out
    assert f"The weights of {run} have changed since the evaluation." in shown
    for part in ("evaluation", "tuning", "gallery"):
        assert f"without {part}: bin/evaluate --records" in shown
    text = Elements((run / "report.html").read_text()).text
    assert "The weights have changed since the evaluation." in text
    assert "on new images" not in text and "AP of presence" not in text


def test_without_records_there_are_metrics_and_no_gallery(evaluated, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(evaluated / "a", folder)
    path = folder / "metrics.json"
    records = json.loads(path.read_text())["records"]
    edit(path, records="gone")
    assert main.main(["report", "--run", str(folder)]) == 0
    assert "without gallery: bin/report" in capsys.readouterr().out
    assert "AP of presence" in (folder / "report.html").read_text()
    edit(path, records=records, sha256="other")
    assert main.main(["report", "--run", str(folder)]) == 2
    assert "was evaluated on other records" in capsys.readouterr().err


def test_agreement_with_people_is_shown_beside_dice(evaluated, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(evaluated / "a/config.json", folder)
    assert main.main(["report", "--run", str(folder)]) == 0
    assert 'id="agreement"' not in (folder / "report.html").read_text()
    rows = [f"1,a.jpg,0,0,{right},1400,Fish\n" for right in (1050, 2100)]
    tables = [tmp_path / "ann.csv", tmp_path / "bob.csv"]
    for table, row in zip(tables, rows, strict=True):
        table.write_text(row)
    out = ["--out", str(tmp_path / "agreement")]
    assert main.main(["agreement", "--boxes", *map(str, tables), *out]) == 0
    flags = ["--agreement", str(tmp_path / "agreement")]
    assert main.main(["report", "--run", str(folder), *flags]) == 0
    page = Elements((folder / "report.html").read_text())
    assert "agreement" in {attributes.get("id") for _, attributes in page.found}
    assert "between people: IoU0.499" in page.text
    assert "1 image of 2 annotators" in page.text


@pytest.mark.parametrize("name", ["tuning.json", "statistics.json", "agreement.json"])
def test_a_damaged_file_or_one_of_another_version_is_refused(
    evaluated, tmp_path, capsys, name
):
    folder = tmp_path / "run"
    shutil.copytree(evaluated / "a", folder)
    for text, fault in (("{", "damaged"), ("{}", "without")):
        (folder / name).write_text(text)
        assert main.main(["report", "--run", str(folder)]) == 2
        error = capsys.readouterr().err
        assert name in error
        assert fault in error
    assert not (folder / "report.html").exists()


def test_another_file_is_not_replaced_by_the_page(evaluated, tmp_path, capsys):
    shutil.copy(evaluated / "a/config.json", tmp_path)
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    assert main.main(["report", "--run", str(tmp_path), "--out", str(path)]) == 2
    assert "clouds report did not write it" in capsys.readouterr().err
    assert path.read_text() == "mine"
    path.unlink()
    for _ in range(2):
        assert main.main(["report", "--run", str(tmp_path), "--out", str(path)]) == 0


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert main.main(["report", "--run", str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def test_switches_hide_what_they_name(browser, folder):
    browser.get(f"file://{folder}/report.html".replace("<", "%3C").replace(">", "%3E"))
    masks = browser.find_elements("css selector", ".mask")
    raw = browser.find_elements("css selector", ".mask.raw")
    assert not any(mask.is_displayed() for mask in raw)
    browser.find_element("id", "show-raw").click()
    kinds = {kind: f".mask.{kind}" for kind in ("truth", "raw", "post")}
    kinds |= {str(k): f".mask.k{k}" for k in range(len(schema.CLOUDS.labels))}
    assert masks
    assert all(mask.is_displayed() for mask in masks)
    for key, selector in kinds.items():
        switch = browser.find_element("id", f"show-{key}")
        assert switch.accessible_name
        switch.send_keys(" ")
        named = browser.find_elements("css selector", selector)
        assert not any(mask.is_displayed() for mask in named), key
        shown = sum(mask.is_displayed() for mask in masks)
        assert shown == len(masks) - len(named)
        switch.click()
    assert all(mask.is_displayed() for mask in masks)
    assert browser.get_log("browser") == []


def test_the_switches_do_not_cover_what_follows_the_gallery(browser, folder):
    metrics = {"width": 390, "height": 600, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(f"file://{folder}/report.html".replace("<", "%3C").replace(">", "%3E"))
    script = """
      const [heading, [bar]] = [document.getElementById("masks"),
        document.getElementsByClassName("switches")];
      heading.scrollIntoView({ behavior: "instant" });
      return [heading, bar].map((each) => each.getBoundingClientRect());"""
    heading, bar = browser.execute_script(script)
    assert bar["bottom"] <= heading["top"] < 600


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_window(browser, folder, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(f"file://{folder}/report.html".replace("<", "%3C").replace(">", "%3E"))
    script = "return document.documentElement.scrollWidth"
    assert browser.execute_script(script) <= width


def test_agreement_that_is_missing_or_of_other_labels_is_refused(
    evaluated, tmp_path, capsys
):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(evaluated / "a/config.json", folder)
    flags = ["report", "--run", str(folder)]
    assert main.main([*flags, "--agreement", str(tmp_path)]) == 2
    assert "has no agreement.json" in capsys.readouterr().err
    row = {"value": 0.5, "low": 0.4, "high": 0.6}
    fields = {"images": 1, "annotators": ["a"], "people": {"iou": {"ship": row}}}
    (folder / "agreement.json").write_text(json.dumps(fields))
    assert main.main(flags) == 2
    assert "has other labels than the run, Fish, Flower" in capsys.readouterr().err
