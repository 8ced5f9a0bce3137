import collections
import errno

import pytest

from clouds.errors import InputError
from clouds.runtime import files

Usage = collections.namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError("SaveV2: /models; No space left on device [Op:SaveV2]"), True),
        (OSError(errno.EACCES, "Permission denied"), False),
    ],
)
def test_a_full_disk_is_known_by_the_systems_words(error, full):
    assert files.is_full(error) == full


def test_the_fullest_path_is_found_though_it_is_not_there_yet(tmp_path, monkeypatch):
    (tmp_path / "small").mkdir()
    usages = {tmp_path: Usage(total=9, used=0, free=9)}
    usages[tmp_path / "small"] = Usage(total=9, used=7, free=2)
    monkeypatch.setattr(files.shutil, "disk_usage", usages.get)
    paths = [tmp_path, tmp_path / "small/new/run"]
    assert files.fullest(paths) == (paths[1], 2)


def test_a_disk_that_does_not_tell_its_room_is_trusted(tmp_path, monkeypatch):
    usage = Usage(total=0, used=0, free=0)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage)
    files.check_room(tmp_path, 98_000_000, "Weights")


def test_what_does_not_fit_is_refused_with_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_free", lambda path: 20_000_000)
    files.check_room(tmp_path, 20_000_000, "Weights")
    message = "Weights must fit onto the disk, 98 MB. Received: .* with 20.0 MB free"
    with pytest.raises(InputError, match=message):
        files.check_room(tmp_path, 98_000_000, "Weights")
