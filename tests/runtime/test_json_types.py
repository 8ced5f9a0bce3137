import pytest

from clouds.runtime import json_types
from clouds.runtime.json_types import NUMBER

RUN = {"name": str, "epochs?": int, "best?": {str: (NUMBER[0], NUMBER[1], None)}}
RUN |= {"parts?": [{"size": [int]}], "curve?": ([NUMBER], None)}


@pytest.mark.parametrize(
    "value",
    [
        {"name": "a"},
        {"name": "a", "epochs": 3, "best": {"x": 1, "y": 0.5, "z": None}, "more": []},
        {"name": "a", "parts": [{"size": [1, 2]}, {"size": []}], "curve": [1, 2.5]},
        {"name": "a", "curve": None},
    ],
)
def test_values_of_the_right_types_pass(value):
    json_types.check(value, RUN)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "it is list, not dict"),
        ({}, "without name"),
        ({"name": 1}, "name is int, not str"),
        ({"name": "a", "epochs": True}, "epochs is bool, not int"),
        ({"name": "a", "epochs": 1.5}, "epochs is float, not int"),
        ({"name": "a", "best": {"x": "1"}}, "best.x is str, not int or float or null"),
        ({"name": "a", "parts": [{"size": "1"}]}, r"parts\[0\].size is str, not list"),
        ({"name": "a", "parts": [{}]}, r"without parts\[0\].size"),
        ({"name": "a", "curve": [None]}, r"curve\[0\] is NoneType, not int or float"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_place(value, message):
    with pytest.raises(ValueError, match=message):
        json_types.check(value, RUN)
