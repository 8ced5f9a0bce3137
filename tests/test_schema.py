import re

from clouds import schema


def test_there_is_one_colour_a_label():
    assert len(set(schema.COLOURS)) == len(schema.LABELS) == 4
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in schema.COLOURS)


def test_the_submissions_grid_is_a_quarter_of_the_csvs():
    assert tuple(4 * side for side in schema.SUBMISSION_SIZE) == schema.GRID
