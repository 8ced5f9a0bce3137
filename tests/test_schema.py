import re

from clouds import schema


def test_there_is_one_colour_a_label():
    assert len(set(schema.CLOUDS.colours)) == len(schema.CLOUDS.labels) == 4
    many = schema.colours(schema.MOST_LABELS)
    assert len(many) == schema.MOST_LABELS and len(set(many[:16])) == 16
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in many)


def test_the_submissions_grid_is_a_quarter_of_the_csvs():
    assert tuple(4 * side for side in schema.CLOUDS.grid) == schema.GRID
