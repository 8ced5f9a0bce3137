import pytest

from clouds.errors import InputError
from clouds.rules import Rule


def test_lists_of_json_become_tuples():
    rule = Rule(thresholds=[0.1, 0.2, 0.3, 0.4], min_sizes=[1, 2, 3, 4])
    assert rule.thresholds == (0.1, 0.2, 0.3, 0.4)
    assert rule == Rule(thresholds=(0.1, 0.2, 0.3, 0.4), min_sizes=(1, 2, 3, 4))


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("thresholds", (0.5, 0.5), "Thresholds must be 4 numbers from 0 to 1"),
        ("thresholds", (0.5, 0.5, 0.5, 1.1), "0 to 1. Received: .*1.1"),
        ("thresholds", (0.5, 0.5, 0.5, float("nan")), "0 to 1. Received: .*nan"),
        ("tops", (0.5, 0.5, 0.5, -0.1), "Tops must be 4 numbers from 0 to 1"),
        ("min_sizes", (1, 1, 1, -1), "Min sizes must be 4 numbers of 0 or more"),
    ],
)
def test_values_out_of_range_are_refused(field, values, message):
    with pytest.raises(InputError, match=message):
        Rule(**{field: values})
