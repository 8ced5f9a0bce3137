import pytest

from clouds.errors import InputError
from clouds.runtime import locks


def test_a_folder_has_one_writer_at_a_time(tmp_path):
    refused = pytest.raises(InputError, match="--out must not be written by two")
    with locks.sole_writer(str(tmp_path), "--out"), refused:
        locks.sole_writer(str(tmp_path), "--out").__enter__()
    with locks.sole_writer(str(tmp_path), "--out"):
        pass


def test_what_is_no_local_folder_is_not_locked(tmp_path):
    with locks.sole_writer("gs://bucket/records", "--out"):
        pass
