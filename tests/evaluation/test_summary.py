import numpy as np
from helpers.evaluations import summarised

from clouds import schema
from clouds.evaluation import summary

ROWS = [*schema.CLOUDS.labels, "mean"]


def test_the_table_holds_the_dice_of_masks_and_baselines():
    found = summarised()[0]
    table = summary.table(found)
    assert table.index.tolist() == ROWS
    np.testing.assert_array_equal(table["network"], found.metrics["dice_plain"][:, 0])
    np.testing.assert_array_equal(
        table["post-processed"], found.metrics["dice_post"][:, 0]
    )
    np.testing.assert_allclose(table["best constant"], 0.45)


def test_the_text_shows_the_metrics():
    found = summarised()[0]
    text = summary.text(found)
    low, high = found.metrics["dice_post"][4, 1:]
    assert f"{found.metrics['dice_post'][4, 0]:.4f}  [{low:.4f}, {high:.4f}]" in text
    assert "The notebook's dice_coef: 0.2600" in text
    assert f"{found.metrics['ece_pixels'][0, 0]:.4f}" in text


def test_the_text_shows_a_dash_where_a_metric_is_not_defined():
    text = summary.text(summarised(without=2)[0])
    gravel = text.splitlines()[-5].split()
    assert gravel[0] == "Gravel" and gravel[1] == gravel[6] == gravel[7] == "-"
