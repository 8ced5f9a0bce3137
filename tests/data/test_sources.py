import numpy as np
import pytest
import tensorflow as tf
from helpers import small
from helpers.commands import refused

from clouds import losses
from clouds.cli import main
from clouds.data import beam, manifest, pipeline, records
from clouds.data.beam import Task
from clouds.data.masks import boxes, votes
from clouds.runs import run_facts

SIZE = (64, 96)
LABELS = ("Fish", "Flower", "Gravel", "Sugar")
# In pixels of images of 1400x2100.
DRAWN = {
    "ann": ["0000000.jpg,0,0,1050,1400,Fish", "0000001.jpg,,,,,", "0000002.jpg,,,,,"],
    "bob": ["0000000.jpg,525,0,2100,1400,Fish", "0000001.jpg,0,0,700,700,Sugar"],
    "eve": ["0000000.jpg,525,0,1050,700,Flowers", "0000001.jpg,0,0,2100,700,Sugar"],
}
SCENES = ["0000003.jpg", "0000004.jpg"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("boxes"), []
    for name, rows in DRAWN.items():
        others = [f"{image},100,100,900,900,Gravel" for image in SCENES]
        numbered = [f"{k},{row}\n" for k, row in enumerate([*rows, *others])]
        (folder / f"{name}.csv").write_text("".join(numbered))
        paths.append(str(folder / f"{name}.csv"))
    return paths


def convert(sample, tables, out, *flags):
    places = ["--images", sample / "train_images", "--out", out, "--workers", 1]
    arguments = [*places, "--size", "64x96", "--boxes", *tables, *flags]
    return main.main(["make_tfrecords", *map(str, arguments)])


def stored(folder, field):
    read = manifest.read(str(folder))
    found = {}
    for shard in read.shards:
        for record in tf.data.TFRecordDataset(f"{folder}/{shard.name}"):
            name = records.parse_name(record).numpy().decode()
            found[name] = field(record, read)
    return found


def masks(record, read):
    return records.parse(record, read)["masks"].numpy()


def annotators(record, read):
    spec = {"annotators": tf.io.VarLenFeature(tf.int64)}
    return (
        tf.io.parse_single_example(record, spec)["annotators"].values.numpy().tolist()
    )


def counted(image, tables):
    """Number of annotators with a box at each pixel, and of all who saw the image."""
    everyone = boxes.read_all(tables, LABELS, (1400, 2100)).values()
    seen = [one.images[image] for one in everyone if image in one.images]
    drawn = [boxes.draw(one, 4, (1400, 2100), (1400, 2100)) for one in seen]
    rows, columns = (
        (2 * np.arange(n) + 1) * m // (2 * n)
        for n, m in zip(SIZE, (1400, 2100), strict=True)
    )
    return np.sum(drawn, axis=0)[np.ix_(rows, columns)], len(seen)


@pytest.mark.parametrize("vote", ["union", "majority"])
def test_masks_are_voted_pixel_by_pixel(sample, tables, tmp_path, vote, capsys):
    assert convert(sample, tables, tmp_path, "--vote", vote) == 0
    assert "boxes of 3 annotators, 0 clipped to their image, 0 dropped" in (
        shown := capsys.readouterr().out
    )
    assert f"by {vote} vote" in shown and "train 4, val 1" in shown
    found = stored(tmp_path, masks)
    assert set(found) == {f"000000{k}.jpg" for k in range(5)}
    for image, mask in found.items():
        count, people = counted(image, tables)
        least = 1 if vote == "union" else people // 2 + 1
        assert (mask == (count >= least)).all()
    assert any(mask.any() for mask in found.values())
    assert stored(tmp_path, annotators)["0000002.jpg"] == [1]
    assert stored(tmp_path, annotators)["0000000.jpg"] == [1, 2, 3]
    assert not manifest.read(str(tmp_path)).soft


@pytest.fixture(scope="module")
def soft(sample, tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("soft")
    assert convert(sample, tables, folder, "--vote", "soft") == 0
    return folder


def test_soft_votes_keep_the_share_of_annotators(soft, tables):
    found = stored(soft, lambda *each: records.parse_shares(*each).numpy())
    for image, shares in found.items():
        count, people = counted(image, tables)
        assert abs(shares - count / people).max() <= 0.5 / 255 + 1e-6
    for image, mask in stored(soft, masks).items():
        count, people = counted(image, tables)
        assert (mask == (count > people / 2)).all()


def test_training_sees_shares_and_validation_the_majority(soft):
    read = manifest.read(str(soft))
    _, shares = next(iter(pipeline.train_batches(str(soft), read, 4)))
    assert shares.dtype == tf.float32 and 0 < float(tf.reduce_max(shares)) <= 1
    assert len(np.unique(shares)) > 2
    _, resized = next(iter(pipeline.train_batches(str(soft), read, 4, size=(32, 48))))
    assert resized.shape == (4, 32, 48, 4)
    _, truth = next(iter(pipeline.val_batches(str(soft), read, 4)))
    assert truth.dtype == tf.uint8


def test_a_network_trains_on_shares(soft, tmp_path, monkeypatch):
    monkeypatch.setattr("clouds.models.unet.build", small.build)
    flags = ["--epochs", "1", "--batch-size", "4", "--precision", "float32"]
    places = ["--records", str(soft), "--run", str(tmp_path)]
    assert main.main(["train", *places, *flags]) == 0
    assert run_facts.read(str(tmp_path))["config"]["epochs"] == 1


def test_losses_take_the_majority_for_presence():
    logits = np.zeros((1, 4, 4, 2), np.float32)
    shares = np.stack([np.full((4, 4), 0.4), np.full((4, 4), 0.6)], -1)[None]
    masks = np.stack([np.zeros((4, 4)), np.ones((4, 4))], -1)[None]
    scores = np.array([[-2.0, 2.0]], np.float32)
    presence = losses.presence(shares, scores), losses.presence(masks, scores)
    assert float(presence[0]) == pytest.approx(float(presence[1]))
    assert float(losses.bce_dice_present(shares, logits)) > 0


def test_tasks_of_boxes_fit_into_json(sample, tables):
    everyone = boxes.read_all(tables, LABELS, (1400, 2100))
    table = votes.table(
        everyone, LABELS, size=(1400, 2100), vote="soft", path=tables[0]
    )
    task = Task("a.jpg", table.one(0), SIZE, (350, 525), False, False)
    (again,) = beam.from_json(beam.to_json([task]))
    shares = [votes.shares(each.table, SIZE) for each in (task, again)]
    assert (shares[0] == shares[1]).all() and shares[0].any()


def test_boxes_and_a_csv_exclude_each_other(sample, tables, tmp_path, capsys):
    assert convert(sample, tables, tmp_path, "--csv", "x.csv") == 2
    assert "--csv and --boxes exclude each other" in capsys.readouterr().err


def test_another_vote_makes_other_records(sample, tables, soft, capsys):
    arguments = ["make_tfrecords", "--images", str(sample / "train_images"), "--out"]
    arguments += [str(soft), "--size", "64x96", "--workers", "1", "--boxes", *tables]
    refused(capsys, arguments, "records with another csv")


def test_images_that_nobody_saw_can_have_empty_masks(sample, tables, tmp_path):
    flags = ["--vote", "soft", "--unlisted", "empty"]
    assert convert(sample, tables, tmp_path, *flags) == 0
    found = stored(tmp_path, lambda *each: records.parse_shares(*each).numpy())
    assert len(found) == 20 and not found["0000005.jpg"].any()
    assert stored(tmp_path, annotators)["0000005.jpg"] == []


def test_an_uneven_split_by_groups_is_warned_of(sample, tables, tmp_path, capsys):
    groups = tmp_path / "groups.csv"
    rows = [f"000000{k}.jpg,{'ab'[k > 2]}\n" for k in range(5)]
    groups.write_text("image,ship\n" + "".join(rows))
    flags = ["--group-by", "ship", "--groups", groups]
    assert convert(sample, tables, tmp_path / "out", *flags) == 0
    assert (
        "the validation split has 40% of the images, not 20%" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rle-base", "0"], "--rle-base needs --csv"),
        (["--csv-format", "coco"], "--csv-format needs --csv"),
        (["--workflows", "A 1"], "no classification export of Zooniverse"),
    ],
)
def test_flags_of_other_sources_are_refused(
    sample, tables, tmp_path, capsys, flags, message
):
    assert convert(sample, tables, tmp_path, *flags) == 2
    assert message in capsys.readouterr().err
