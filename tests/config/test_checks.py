import pytest

from clouds.config import checks
from clouds.config.checks import transposed
from clouds.errors import InputError


@pytest.mark.parametrize(
    ("size", "other", "meant"),
    [
        ((480, 320), (1400, 2100), "320x480"),
        ((320, 480), (2100, 1400), "480x320"),
        ((320, 480), (1400, 2100), None),
        ((256, 256), (1400, 2100), None),
        ((480, 320), (1400, 1400), None),
    ],
)
def test_a_size_given_as_width_x_height_is_warned_of(size, other, meant):
    warning = transposed(size, other, "images")
    assert bool(warning) == bool(meant)
    assert not meant or f"Did you mean {meant}?" in warning


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([], "1 to 32 labels. Received: 0"),
        ([str(k) for k in range(33)], "Received: 33"),
        (["a", "A"], "'A' is repeated"),
        (["a/b"], "'a/b' needs"),
        ([""], "'' needs"),
        (["mean"], "'mean' has another meaning"),
    ],
)
def test_names_that_files_or_tables_cannot_have_are_refused(labels, problem):
    with pytest.raises(InputError, match=f"^--labels: .*{problem}"):
        checks.check_labels(labels, "--labels")


def test_names_with_digits_blanks_and_other_letters_are_accepted():
    labels = ("1", "Défaut plat", "rolled-in_scale")
    assert checks.check_labels(labels, "train.csv") == labels
