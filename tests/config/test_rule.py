import pytest

from clouds.config.rule import NOTHING, Rule
from clouds.errors import InputError


def test_lists_of_json_become_tuples():
    rule = Rule(thresholds=[0.1, 0.2, 0.3, 0.4], min_sizes=[1, 2, 3, 4])
    assert rule.thresholds == (0.1, 0.2, 0.3, 0.4)
    assert rule == Rule(thresholds=(0.1, 0.2, 0.3, 0.4), min_sizes=(1, 2, 3, 4))


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("thresholds", (0.5, 0.5), "Minimum areas must be 2 numbers of 0 or more"),
        ("thresholds", (0.5, 0.5, 0.5, 1.1), "0 to 1. Received: .*1.1"),
        ("thresholds", (0.5, 0.5, 0.5, float("nan")), "0 to 1. Received: .*nan"),
        (
            "tops",
            (0.5, 0.5, 0.5, -0.1),
            "Peak thresholds must be 4 numbers from 0 to 1",
        ),
        ("min_sizes", (1, 1, 1, -1), "Minimum areas must be 4 numbers of 0 or more"),
    ],
)
def test_values_out_of_range_are_rejected(field, values, message):
    with pytest.raises(InputError, match=message):
        Rule(**{field: values})


def test_a_rule_describes_a_label():
    sizes, tops = (96948, 9, NOTHING, 0), (0.75, 0, 0.5, 0)
    rule = Rule(min_sizes=sizes, tops=tops)
    assert rule.describe_label(0) == "above 0.50, peak above 0.75, area above 96,948"
    assert rule.describe_label(1) == "above 0.50, area above 9"
    assert rule.describe_label(2) == "nothing drawn"
