"""The short form; the long one is `python tests/faults/csv_mutations.py`."""

from faults import csv_mutations


def test_a_mutated_csv_is_read_or_refused(tmp_path):
    found = csv_mutations.tried(300, tmp_path)
    assert not found["traceback"], found
    assert found["read"] > 3 and found["refused"] > 100
