import dataclasses

import numpy as np
import pytest

from clouds import schema
from clouds.config.data import Records
from clouds.data import annotations, split_files, splits
from clouds.errors import InputError
from clouds.runtime import files

present = np.random.default_rng(0).random((1003, 4)) < [0.5, 0.4, 0.5, 0.7]
label_sets = present @ [1, 2, 4, 8]


def test_a_fifth_of_the_images_is_held_out():
    assert splits.holdout(present, 0.2).sum() == round(0.2 * 1003)


def test_the_same_fraction_of_each_set_of_labels_is_held_out():
    held = splits.holdout(present, 0.2)
    for label_set in range(16):
        of_set = label_sets == label_set
        assert abs(held[of_set].sum() - 0.2 * of_set.sum()) <= 1


def test_two_folds_and_one_per_image_are_allowed():
    assert sorted(splits.folds(present[:7], 2)) == [0] * 4 + [1] * 3
    assert sorted(splits.folds(present[:7], 7)) == list(range(7))


def test_folds_share_each_set_of_labels_evenly():
    folds = splits.folds(present, 5)
    for label_set in range(16):
        counts = np.bincount(folds[label_sets == label_set], minlength=5)
        assert np.ptp(counts) <= 1
    assert np.ptp(np.bincount(folds)) <= 1


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    split = splits.holdout(present, 0.2, seed=3)
    assert (split == splits.holdout(present, 0.2, seed=3)).all()
    assert (split != splits.holdout(present, 0.2, seed=4)).any()


def test_two_images_are_split_into_one_and_one():
    assert splits.holdout(present[:2], 0.01).sum() == 1
    assert splits.holdout(present[:2], 0.99).sum() == 1


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2])
def test_a_fraction_out_of_range_is_rejected(fraction):
    with pytest.raises(InputError, match="fraction"):
        splits.holdout(present, fraction)


def test_one_image_cannot_be_split():
    with pytest.raises(InputError, match="at least 2 images"):
        splits.holdout(present[:1], 0.2)


@pytest.mark.parametrize("count", [1, 1004])
def test_a_number_of_folds_out_of_range_is_rejected(count):
    with pytest.raises(InputError, match="folds"):
        splits.folds(present, count)


groups = [f"day {k}" for k in np.random.default_rng(3).integers(0, 300, 1003)]


def test_no_group_is_divided_and_labels_stay_even():
    held = splits.holdout(present, 0.2, groups=groups)
    inside = {group for group, is_held in zip(groups, held, strict=True) if is_held}
    outside = {
        group for group, is_held in zip(groups, held, strict=True) if not is_held
    }
    assert not inside & outside
    assert abs(held.mean() - 0.2) < 0.02
    assert abs(present[held].mean(0) - present[~held].mean(0)).max() < 0.05
    folds = splits.folds(present, 5, groups=groups)
    assert len({*zip(groups, folds.tolist(), strict=True)}) == len(set(groups))
    assert np.ptp(np.bincount(folds)) < 10


def test_groups_of_rare_sets_of_labels_are_split_without_a_warning():
    rare = np.zeros((40, 4), bool)
    rare[0] = True
    held = splits.holdout(rare, 0.25, groups=[str(k // 2) for k in range(40)])
    assert held.sum() == 10
    assert (held[::2] == held[1::2]).all()


def test_one_group_cannot_be_split():
    with pytest.raises(InputError, match="Received: 2, with 1 group"):
        splits.holdout(present, 0.2, groups=["a"] * 1003)
    with pytest.raises(InputError, match="Received: 5, with 3 groups"):
        splits.folds(present, 5, groups=list("abc") * 334 + ["a"])


images = [f"{n:03}.jpg" for n in np.random.default_rng(0).permutation(50)]
texts = np.where(np.random.default_rng(1).random((50, 4)) < 0.5, "1 1", "")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("contents")
    settings = Records(csv=str(path), images="i", out="o")
    return settings, annotations.Table(images, texts.astype(object), texts, str(path))


def test_every_image_has_one_place(source):
    order, manifest = splits.plan_shards(*source)
    assert sorted(np.concatenate(order)) == list(range(50))
    assert [len(part) for part in order] == [s.examples for s in manifest.shards]
    assert manifest.examples("val") == 10
    assert not manifest.complete


def test_the_plan_does_not_depend_on_the_order_of_the_csv(source):
    settings, table = source
    order, manifest = splits.plan_shards(settings, table)
    reversed_table = annotations.Table(
        images[::-1], table.texts[::-1], table.rows, table.path
    )
    again, same = splits.plan_shards(settings, reversed_table)
    assert same == manifest
    for part, of_reversed in zip(order, again, strict=True):
        assert [images[i] for i in part] == [images[::-1][i] for i in of_reversed]


def test_the_seed_changes_split_and_order(source):
    settings, table = source
    (train, val), _ = splits.plan_shards(settings, table)
    other = dataclasses.replace(settings, seed=1)
    (other_train, other_val), _ = splits.plan_shards(other, table)
    assert set(val) != set(other_val)
    assert list(train) != list(other_train)


def test_training_images_are_in_random_order_and_the_others_by_name(source):
    settings, table = source
    (train, val), _ = splits.plan_shards(settings, table)
    names = [images[k] for k in range(50)]
    assert [names[k] for k in val] == sorted(names[k] for k in val)
    assert [names[k] for k in train] != sorted(names[k] for k in train)


def test_shards_are_of_about_100_megabytes(source, monkeypatch):
    settings, table = source
    monkeypatch.setattr(splits, "_SHARD_BYTES", 320 * 480 * 0.5 * 15)
    _, manifest = splits.plan_shards(settings, table)
    names = [shard.name for shard in manifest.of_split("train")]
    assert names == [f"train-{n:05}-of-00003.tfrecord" for n in range(3)]


def test_the_manifest_names_the_source_of_the_records(source):
    settings, table = source
    folds = dataclasses.replace(settings, folds=5, decode="exact", size=(32, 48))
    _, manifest = splits.plan_shards(folds, table)
    assert manifest.labels == schema.CLOUDS.labels
    assert (manifest.size, manifest.decode, manifest.folds) == ((32, 48), "exact", 5)
    assert manifest.val_fraction == 0
    assert manifest.source["name"] == "train.csv"
    assert {shard.split for shard in manifest.shards} == {f"fold{k}" for k in range(5)}


def test_a_split_of_ones_own_is_followed(source, tmp_path):
    settings, table = source
    rows = [(name, "val" if k % 3 else "train") for k, name in enumerate(images)]
    path = tmp_path / "split.csv"
    path.write_text(split_files.to_csv(rows))
    settings = dataclasses.replace(settings, split_file=str(path))
    (train, val), manifest = splits.plan_shards(settings, table)
    assert sorted(images[k] for k in train) == sorted(images[::3])
    assert [images[k] for k in val] == sorted(set(images) - set(images[::3]))
    assert (manifest.val_fraction, manifest.folds) == (0, 0)
    assert manifest.split == {"sha256": files.checksum(path)}


def test_folds_of_ones_own_are_in_the_order_of_their_numbers(source, tmp_path):
    settings, table = source
    path = tmp_path / "split.csv"
    rows = [(name, f"fold{k % 11}") for k, name in enumerate(images)]
    path.write_text(split_files.to_csv(rows))
    settings = dataclasses.replace(settings, split_file=str(path))
    _, manifest = splits.plan_shards(settings, table)
    assert [shard.split for shard in manifest.shards] == [f"fold{k}" for k in range(11)]
    assert manifest.folds == 11


def test_groups_are_part_of_the_plan(source):
    settings, table = source
    settings = dataclasses.replace(settings, group_by="day")
    groups = [name[:2] for name in images]
    order, plan = splits.plan_shards(settings, table, groups)
    assert plan.split["group_by"] == "day"
    train, val = ({groups[k] for k in part} for part in order)
    assert not train & val
    _, other = splits.plan_shards(settings, table, [f"{group}x" for group in groups])
    assert other != plan


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((60, 20, 20), {20}), ((95, 5), {5}), ((40, *[6] * 10), range(15, 26))],
)
def test_groups_of_uneven_sizes_are_held_out_near_the_fraction(sizes, expected):
    groups = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
    different = set()
    for seed in range(4):
        held = splits.holdout(present[:100], 0.2, seed=seed, groups=groups)
        assert held.sum() in expected
        different.add(held.tobytes())
    assert len(different) > 1 or len(sizes) == 2


def test_the_largest_fraction_leaves_a_group_to_train_on():
    held = splits.holdout(present[:100], 0.99, groups=[str(k % 2) for k in range(100)])
    assert held.sum() == 50
