import dataclasses

import numpy as np
import pytest

from clouds import schema
from clouds.config.data import Records
from clouds.data import annotations, plan

images = [f"{n:03}.jpg" for n in np.random.default_rng(0).permutation(50)]
texts = np.where(np.random.default_rng(1).random((50, 4)) < 0.5, "1 1", "")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("contents")
    settings = Records(csv=str(path), images="i", out="o")
    return settings, annotations.Table(images, texts.astype(object), texts, str(path))


def test_every_image_has_one_place(source):
    order, manifest = plan.make(*source)
    assert sorted(np.concatenate(order)) == list(range(50))
    assert [len(part) for part in order] == [s.examples for s in manifest.shards]
    assert manifest.examples("val") == 10
    assert not manifest.complete


def test_the_plan_does_not_depend_on_the_order_of_the_csv(source):
    settings, read = source
    order, manifest = plan.make(settings, read)
    turned = annotations.Table(images[::-1], read.texts[::-1], read.rows, read.path)
    again, same = plan.make(settings, turned)
    assert same == manifest
    for part, of_turned in zip(order, again, strict=True):
        assert [images[i] for i in part] == [images[::-1][i] for i in of_turned]


def test_the_seed_changes_split_and_order(source):
    settings, read = source
    (train, val), _ = plan.make(settings, read)
    other = dataclasses.replace(settings, seed=1)
    (other_train, other_val), _ = plan.make(other, read)
    assert set(val) != set(other_val)
    assert list(train) != list(other_train)


def test_shards_are_of_about_100_megabytes(source, monkeypatch):
    settings, read = source
    monkeypatch.setattr(plan, "_SHARD_BYTES", 320 * 480 * 0.5 * 15)
    _, manifest = plan.make(settings, read)
    names = [shard.name for shard in manifest.of_split("train")]
    assert names == [f"train-{n:05}-of-00003.tfrecord" for n in range(3)]


def test_the_manifest_says_what_the_records_come_from(source):
    settings, read = source
    folds = dataclasses.replace(settings, folds=5, decode="exact", size=(32, 48))
    _, manifest = plan.make(folds, read)
    assert manifest.labels == schema.LABELS
    assert (manifest.size, manifest.decode, manifest.folds) == ((32, 48), "exact", 5)
    assert manifest.val_fraction == 0
    assert manifest.source["name"] == "train.csv"
    assert {shard.split for shard in manifest.shards} == {f"fold{k}" for k in range(5)}
