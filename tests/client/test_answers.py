import pytest

from clouds.client import answers
from clouds.client.retry import Rejected
from clouds.schema import MaskSpec


def read(**changes):
    """What is read where an answer differs from a good one."""
    row = {"rle": ["1 2", "", "3 4", ""], "score": [0.5, 0, 1, 0.25]}
    return answers.read(row | changes)


def test_labels_in_another_order_are_put_in_place():
    answer = read(label=["Sugar", "Fish", "Flower", "Gravel"])
    assert answer[:2] == (["", "3 4", "", "1 2"], [0, 1, 0.25, 0.5])
    for labels in (["Fish"] * 4, "Fish", [1] * 4):
        with pytest.raises(ValueError, match="label"):
            read(label=labels)


def test_labels_and_grid_are_those_of_the_model():
    labels = ["Cat", "Fish", "Flower", "Gravel"]
    answer = read(label=labels, grid=[35, 52])
    assert answer.spec == MaskSpec(tuple(labels), (35, 52))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rle": ["1 2", "2 1", "5 4 1 1", ""]}, "the server's Gravel, run 2"),
        ({"rle": ["1 2", "", "x", ""]}, "the server's Gravel, run 1: not an integer"),
        ({"rle": ["183750 2", "", "", ""]}, "exceeds the 350x525 grid"),
        ({"rle": [None, 3, "", ""]}, "run-length codes must be text"),
        ({"score": [0.5, float("nan"), 0, 0]}, "score of Flower is nan, not in 0 to 1"),
        ({"score": [0.5, -0.1, 0, 0]}, "score of Flower is -0.1, not in 0 to 1"),
        ({"score": [0.5, 0, 0, 1.5]}, "score of Sugar is 1.5"),
        ({"score": [True, 0, 0, 0]}, "score of Fish is True"),
        ({"error": "x" * 1000}, "x" * 500),
    ],
)
def test_an_answer_that_is_no_mask_has_a_reason(changes, reason):
    answer = read(**changes)
    assert isinstance(answer, Rejected)
    assert reason in str(answer)
