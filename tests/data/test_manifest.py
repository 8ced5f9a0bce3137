import hashlib
import json

import pytest

from clouds import schema
from clouds.data import manifest
from clouds.errors import InputError
from clouds.runtime import files

plan = manifest.Manifest(
    size=(64, 96), grid=(1400, 2100), truth_size=(350, 525), labels=schema.LABELS,
    decode="reduced", seed=0, val_fraction=0.2, folds=0,
    source={"name": "train.csv", "sha256": "0"},
    shards=(
        manifest.Shard("train-00000-of-00001.tfrecord", "train", 8),
        manifest.Shard("val-00000-of-00001.tfrecord", "val", 2),
    ),
)  # fmt: skip


def finish(folder):
    """A folder whose shards hold three bytes each."""
    shards = tuple(shard._replace(size=3, sha256="0") for shard in plan.shards)
    for shard in shards:
        (folder / shard.name).write_bytes(b"abc")
    manifest.save(str(folder), plan._replace(shards=shards))


def test_what_is_saved_is_loaded(tmp_path):
    manifest.save(str(tmp_path), plan)
    assert manifest.load(str(tmp_path)) == plan
    assert [path.name for path in tmp_path.iterdir()] == [manifest.FILE]


def test_a_complete_folder_is_read(tmp_path):
    finish(tmp_path)
    read = manifest.read(str(tmp_path))
    assert read.complete
    assert read.plan == plan
    assert read.examples("train") == 8
    assert [shard.split for shard in read.of_split("val")] == ["val"]


def test_a_folder_without_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no manifest"):
        manifest.read(str(tmp_path))


def test_an_unfinished_folder_is_refused(tmp_path):
    manifest.save(str(tmp_path), plan)
    with pytest.raises(InputError, match="are incomplete"):
        manifest.read(str(tmp_path))


def test_a_missing_or_short_shard_is_named(tmp_path):
    finish(tmp_path)
    shard = tmp_path / plan.shards[1].name
    shard.write_bytes(b"ab")
    with pytest.raises(InputError, match=r"val-00000.* has 2 bytes, not 3 bytes"):
        manifest.read(str(tmp_path))
    shard.unlink()
    with pytest.raises(InputError, match=r"val-00000.* is missing"):
        manifest.read(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"labels": ["Cat"]}, "Received: Cat"),
        ({"shards": [{"size": 1}]}, "damaged"),
        ({"surprise": 1}, "damaged"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(tmp_path, change, message):
    finish(tmp_path)
    path = tmp_path / manifest.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        manifest.read(str(tmp_path))


def test_a_manifest_cut_short_is_refused(tmp_path):
    finish(tmp_path)
    path = tmp_path / manifest.FILE
    path.write_text(path.read_text()[:50])
    with pytest.raises(InputError, match="damaged"):
        manifest.read(str(tmp_path))


def test_the_checksum_is_that_of_sha256sum(tmp_path):
    contents = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(contents)
    expected = hashlib.sha256(contents).hexdigest()
    assert files.checksum(str(tmp_path / "file")) == expected
