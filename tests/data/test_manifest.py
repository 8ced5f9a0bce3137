import hashlib
import json

import pytest

from clouds import schema
from clouds.data import manifest
from clouds.errors import InputError
from clouds.runtime import files

plan = manifest.Manifest(
    size=(64, 96), grid=(1400, 2100), truth_size=(350, 525),
    labels=schema.CLOUDS.labels, decode="reduced", seed=0, val_fraction=0.2, folds=0,
    source={"name": "train.csv", "sha256": "0"},
    shards=(
        manifest.Shard("train-00000-of-00001.tfrecord", "train", 8),
        manifest.Shard("val-00000-of-00001.tfrecord", "val", 2),
    ),
)  # fmt: skip


def finish(folder):
    """A folder whose shards hold three bytes each."""
    shards = tuple(shard._replace(size=3, sha256="0" * 64) for shard in plan.shards)
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


def of_shard(**change):
    """Both finished shards, the first one changed."""
    shards = [s._replace(size=3, sha256="0" * 64)._asdict() for s in plan.shards]
    return {"shards": [{**shards[0], **change}, shards[1]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format 2"),
        ({"labels": ["Cat", "cat"]}, "the label 'cat' is repeated"),
        ({"shards": [{"size": 1}]}, "damaged"),
        ({"shards": []}, "damaged .*wrong: shards"),
        ({"surprise": 1}, "damaged"),
        ({"size": [64]}, "wrong: size, grid or truth_size"),
        ({"grid": [0, 2100]}, "wrong: size, grid or truth_size"),
        ({"size": "ab"}, "size is str, not list"),
        ({"truth_size": [350, "525"]}, r"truth_size\[1\] is str, not int"),
        ({"decode": "exacu"}, "wrong: decode"),
        ({"seed": "0"}, "seed is str"),
        ({"val_fraction": 1.2}, "wrong: val_fraction"),
        ({"folds": 2}, "wrong: the splits"),
        ({"source": []}, "source is list"),
        (of_shard(split="trqin"), "wrong: the splits"),
        (of_shard(split="val"), "wrong: the splits"),
        (of_shard(name="train-00001-of-00001.tfrecord"), "the name of train-00001"),
        (of_shard(examples=0), "wrong: examples of train-00000"),
        (of_shard(examples=True), r"shards\[0\].examples is bool"),
        (of_shard(size=None), "size or sha256 of train-00000"),
        (of_shard(sha256="0g" * 32), "size or sha256 of train-00000"),
        ({"seed": 1, "checksum": "0"}, "do not match its checksum"),
    ],
)
def test_a_manifest_with_a_wrong_value_is_refused(tmp_path, change, message):
    finish(tmp_path)
    path = tmp_path / manifest.FILE
    fields = json.loads(path.read_text())
    # As manifests of earlier versions.
    del fields["checksum"]
    path.write_text(json.dumps(fields))
    assert manifest.read(str(tmp_path)).complete
    path.write_text(json.dumps(fields | change))
    with pytest.raises(InputError, match=message):
        manifest.read(str(tmp_path))


def test_a_changed_count_or_split_does_not_match_the_checksum(tmp_path):
    finish(tmp_path)
    path = tmp_path / manifest.FILE
    text = path.read_text()
    for one, other in (('"examples": 8', '"examples": 9'), ("reduced", "exact")):
        path.write_text(text.replace(one, other))
        with pytest.raises(InputError, match="do not match its checksum"):
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
