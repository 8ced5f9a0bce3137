import pickle

from clouds.errors import InputError


def test_an_input_error_is_a_value_error_that_crosses_processes():
    error = pickle.loads(pickle.dumps(InputError("message")))
    assert isinstance(error, ValueError)
    assert str(error) == "message"
