import pickle

from clouds.errors import InputError, did_you_mean


def test_an_input_error_is_a_value_error_that_crosses_processes():
    error = pickle.loads(pickle.dumps(InputError("message")))
    assert isinstance(error, ValueError)
    assert str(error) == "message"


def test_a_mistyped_word_is_told_which_is_near():
    known = ["--epochs", "--loss"]
    assert did_you_mean("--epohcs", known) == " Did you mean --epochs?"
    assert did_you_mean("epoch", known) == " Did you mean --epochs?"
    assert did_you_mean("--zebra", known) == ""
