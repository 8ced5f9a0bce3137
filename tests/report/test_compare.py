import json
import shutil

import numpy as np
import pandas as pd
import pytest
from helpers.edits import edit

from clouds import schema
from clouds.cli import main
from clouds.config.presentation import Comparison
from clouds.config.rule import NOTHING
from clouds.evaluation import results
from clouds.report import compare, html
from clouds.runs.run_folder import WEIGHTS
from clouds.runtime import files


@pytest.fixture
def runs(evaluated, tmp_path):
    """The two runs, free to be spoiled, and where the page goes."""
    shutil.copytree(evaluated, tmp_path / "runs")
    return tmp_path / "runs"


def compared(runs, *names):
    folders = [str(runs / name) for name in names]
    return main.main(["compare", *folders, "--out", str(runs / "compare.html")])


def test_differences_are_those_of_the_metrics(runs, capsys):
    folders = (str(runs / "a"), str(runs / "b"))
    settings = Comparison(run=folders, out=str(runs / "compare.html"))
    table = compare.compare(settings)
    assert table.index.tolist() == [*schema.CLOUDS.labels, "mean"]
    differences = table["difference"].str.split().str[0].astype(float)
    np.testing.assert_allclose(
        differences, table[folders[1]] - table[folders[0]], atol=1e-4
    )
    assert "paired 95 % intervals" in capsys.readouterr().out
    page = (runs / "compare.html").read_text()
    assert "http" not in page
    assert f"<b>{differences['mean']:+.3f}</b> competition" in page


def test_intervals_are_paired(runs):
    found = results.read(str(runs / "a"))
    # Ten images, each a pixel of a hundred better: the difference does not vary.
    first = found.images._replace(
        names=[*"abcdefghij"],
        **{
            name: np.repeat(np.linspace(0, 90, 10).astype(int)[:, None], 4, axis=1)
            for name in ("plain_shared", "post_shared")
        },
        **{name: np.full((10, 4), 100) for name in ("truth", "plain", "post", "score")},
    )
    other = first._replace(post_shared=first.post_shared + 1)
    found = compare._differences(first, other)["dice_post"]
    np.testing.assert_allclose(found, 0.01)


def test_a_difference_is_significant_where_its_printed_ends_have_one_sign(
    runs, capsys, monkeypatch
):
    def headline(*numbers):
        found = {name: np.tile(numbers, (5, 1)) for name in html.METRICS}
        monkeypatch.setattr(compare.bootstrap, "intervals", lambda *_, **__: found)
        assert compared(runs, "a", "b") == 0
        page = (runs / "compare.html").read_text()
        return page.partition('class="headline">')[2].partition("</p>")[0]

    text = headline(-0.002, -0.003, -0.0004)
    assert "-0.003 to -0.0004)" in text
    assert "-0.0020 [-0.0030, -0.0004]" in capsys.readouterr().out
    assert "-0.003 to 0.000: not significant)" in headline(-0.002, -0.003, -1e-17)


def test_the_order_of_images_does_not_matter(runs):
    found = results.read(str(runs / "a")).images
    other = type(found)(found.names[::-1], *(part[::-1] for part in found[1:-1]))
    for values in compare._differences(found, other).values():
        assert not values[np.isfinite(values)].any()


def test_a_rule_tuned_on_the_images_is_warned_of(runs, capsys):
    path = runs / "b/metrics.json"
    tuned = {"tuned_on_these_images": True, "rule_source": "tuned"}
    edit(path, **tuned)
    assert compared(runs, "a", "b") == 0
    shown = capsys.readouterr().out
    assert f"The rule of {runs / 'b'} was tuned on these images, so its" in shown
    assert f"The rule of {runs / 'a'}" not in shown
    assert "tuned, on these images" in (runs / "compare.html").read_text()


def test_a_run_of_other_records_is_warned_of(runs, capsys):
    path = runs / "b/run.json"
    assert compared(runs, "a", "b") == 0
    assert "other records" not in capsys.readouterr().out
    edit(path, records={"sha256": "0", "folder": "tfrecords/others"})
    assert compared(runs, "a", "b") == 0
    said = f"{runs / 'b'} was trained on other records, tfrecords/others, which may"
    assert capsys.readouterr().out.count(said) == 1
    assert said in (runs / "compare.html").read_text()


def test_a_run_whose_weights_have_changed_is_warned_of(runs, capsys):
    said = f"The weights of {runs / 'b'} have changed since the evaluation."
    assert compared(runs, "a", "b") == 0
    assert said not in capsys.readouterr().out
    with (runs / "b" / WEIGHTS).open("ab") as file:
        file.write(b"more")
    assert compared(runs, "a", "b") == 0
    assert capsys.readouterr().out.count(said) == 1
    assert said in (runs / "compare.html").read_text()


def test_a_label_that_is_never_drawn_is_marked(runs):
    path = runs / "b/metrics.json"
    rule = json.loads(path.read_text())["rule"]
    edit(path, rule={**rule, "min_sizes": [1200, 5, NOTHING, 7]})
    assert compared(runs, "a", "b") == 0
    page = (runs / "compare.html").read_text()
    assert "<td>1,200, 5, nothing drawn, 7</td>" in page


def test_more_than_two_runs_are_each_compared_with_the_first(runs, capsys):
    shutil.copytree(runs / "b", runs / "c")
    assert compared(runs, "a", "b", "c") == 0
    assert "difference 2" in capsys.readouterr().out


def test_runs_are_named_only_where_an_evaluation_is_elsewhere(runs):
    assert compared(runs, "a", "b") == 0
    column = '<th scope="col">runs</th>'
    assert column not in (runs / "compare.html").read_text()
    (runs / "b/config.json").unlink()
    assert compared(runs, "a", "b") == 0
    page = (runs / "compare.html").read_text()
    assert column in page
    of_b = json.loads((runs / "b/metrics.json").read_text())["runs"]
    assert f"<td>{of_b[0]}</td>" in page


def test_a_metric_that_no_run_has_is_one_dash(runs):
    for name in "ab":
        path = runs / name / "metrics_images.csv"
        rows = pd.read_csv(path)
        of_label = rows["label"] == schema.CLOUDS.labels[0]
        columns = ["true_area", "plain_shared", "post_shared"]
        rows.loc[of_label, columns] = 0
        rows.to_csv(path, index=False)
        edit(runs / name / "metrics.json", images_sha256=files.checksum(path))
    assert compared(runs, "a", "b") == 0
    page = (runs / "compare.html").read_text()
    assert "<td>–<small></small></td>" in page
    assert "– to" not in page


def test_another_file_is_not_replaced_by_the_page(runs, capsys):
    (runs / "compare.html").write_text("<p>mine")
    assert compared(runs, "a", "b") == 2
    assert "clouds compare did not write it" in capsys.readouterr().err
    assert (runs / "compare.html").read_text() == "<p>mine"


@pytest.mark.parametrize("change", [{"split": "train"}, {"sha256": "0" * 64}])
def test_runs_evaluated_on_other_records_or_splits_are_refused(runs, capsys, change):
    path = runs / "b/metrics.json"
    edit(path, **change)
    assert compared(runs, "a", "b") == 2
    error = capsys.readouterr().err
    assert "on the same images. Received: 4 images of the val split of" in error
    assert error.count(next(iter(change.values()))[:8]) == 1
    assert not (runs / "compare.html").exists()


def test_runs_of_other_images_are_refused(runs, capsys):
    path = runs / "b/metrics_images.csv"
    rows = pd.read_csv(path)
    rows["image"] = "other-" + rows["image"]
    rows.to_csv(path, index=False)
    edit(runs / "b/metrics.json", images_sha256=files.checksum(path))
    assert compared(runs, "a", "b") == 2
    assert "on the same images" in capsys.readouterr().err


def test_one_run_twice_or_without_an_evaluation_is_refused(runs, capsys):
    assert compared(runs, "a") == 2
    assert "needs at least two runs. Received: 1" in capsys.readouterr().err
    assert compared(runs, "a", "a") == 2
    assert "must be given once" in capsys.readouterr().err
    (runs / "b/metrics.json").unlink()
    assert compared(runs, "a", "b") == 2
    assert "bin/evaluate --records DIR --run" in capsys.readouterr().err
    assert compared(runs, "a", "none") == 2
    assert f"'{runs / 'none'}' is not a folder" in capsys.readouterr().err


def test_intervals_over_groups_are_called_so(runs, capsys):
    for name in "ab":
        path = runs / name / "metrics_images.csv"
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows.insert(2, "group", [str(k // 8) for k in range(len(rows))])
        rows.to_csv(path, index=False)
        edit(runs / name / "metrics.json", images_sha256=files.checksum(path))
    assert compared(runs, "a", "b") == 0
    assert "paired 95 % intervals over groups of images" in capsys.readouterr().out
    page = (runs / "compare.html").read_text()
    assert "bootstrap over groups of images" in page
