import collections
import errno
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import ROOT

from clouds.errors import InputError
from clouds.runtime import files

Usage = collections.namedtuple("Usage", "total used free")


@pytest.fixture(params=["local", "remote"])
def folder(request, tmp_path):
    if request.param == "local":
        return str(tmp_path)
    tf.io.gfile.makedirs(f"ram://{tmp_path.name}")
    return f"ram://{tmp_path.name}"


def test_a_written_file_has_its_checksum(folder):
    files.write(f"{folder}/file", "schön\n")
    assert (
        files.checksum(f"{folder}/file")
        == hashlib.sha256(b"sch\xc3\xb6n\n").hexdigest()
    )


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing_else(folder):
    files.write(f"{folder}/file.npz", b"old")
    with (
        pytest.raises(KeyboardInterrupt),
        files.replacing(f"{folder}/file.npz") as part,
    ):
        assert part.endswith(".npz")
        with tf.io.gfile.GFile(part, "wb") as file:
            file.write(b"new, but incom")
        raise KeyboardInterrupt
    assert tf.io.gfile.listdir(folder) == ["file.npz"]
    with tf.io.gfile.GFile(f"{folder}/file.npz", "rb") as file:
        assert file.read() == b"old"


def test_a_folder_has_one_writer_at_a_time(tmp_path):
    refused = pytest.raises(InputError, match="--out: another process is writing")
    with files.sole_writer(str(tmp_path), "--out"), refused:
        files.sole_writer(str(tmp_path), "--out").__enter__()
    with files.sole_writer(str(tmp_path), "--out"):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path):
    code = (
        "import os, sys; from clouds.runtime import files\n"
        "with files.sole_writer(sys.argv[1], '--out'): os.kill(os.getpid(), 9)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT).returncode == -9
    with files.sole_writer(str(tmp_path), "--out"):
        pass


def test_a_remote_folder_is_not_locked(tmp_path):
    with files.sole_writer("gs://bucket/records", "--out"):
        pass


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("SaveV2: /models; No space left on device [Op:SaveV2]"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
    ],
)
def test_a_full_disk_is_recognised_by_the_systems_words(error, full):
    assert files.is_full(error) == full


def test_the_fullest_path_is_found_before_it_exists(tmp_path, monkeypatch):
    (tmp_path / "small").mkdir()
    usages = {tmp_path: Usage(total=9, used=0, free=9)}
    usages[tmp_path / "small"] = Usage(total=9, used=7, free=2)
    monkeypatch.setattr(files.shutil, "disk_usage", usages.get)
    paths = [tmp_path, tmp_path / "small/new/run"]
    assert files.fullest(paths) == (paths[1], 2)


def test_a_disk_that_does_not_report_its_size_is_trusted(tmp_path, monkeypatch):
    usage = Usage(total=0, used=0, free=0)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    files.check_free_space(tmp_path, 98_000_000, "Weights")


def test_too_little_free_space_is_reported_with_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_free", lambda path: 20_000_000)
    files.check_free_space(tmp_path, 20_000_000, "Weights")
    with pytest.raises(InputError, match="Weights need 98 MB, .* has 20.0 MB free"):
        files.check_free_space(tmp_path, 98_000_000, "Weights")


def test_a_file_system_without_locks_is_not_locked(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    with files.sole_writer(str(tmp_path), "--out"):
        pass


def test_a_folder_that_was_replaced_before_it_was_locked_is_not_written(
    tmp_path, monkeypatch
):
    folder = tmp_path / "folder"
    folder.mkdir()
    flock = files.fcntl.flock

    def replaced(*arguments):
        folder.rename(tmp_path / "old")
        folder.mkdir()
        flock(*arguments)

    monkeypatch.setattr(files.fcntl, "flock", replaced)
    with (
        pytest.raises(InputError, match="another process is writing"),
        files.sole_writer(str(folder), "--out"),
    ):
        pass


def test_an_array_in_a_file_has_its_space_reserved(tmp_path):
    array = files.mapped(tmp_path / "a.npy", (1000, 1000), "float32")
    array[3, 4] = 5
    array.flush()
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 4_000_000
    assert np.load(tmp_path / "a.npy")[3, 4] == 5


def test_a_full_disk_is_reported_before_pages_are_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as error:
        files.mapped(tmp_path / "a.npy", (10,), "uint8")
    assert files.is_full(error.value)
