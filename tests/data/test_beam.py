import sys

import numpy as np
import pytest
from helpers.commands import make_tfrecords, refused

from clouds.cli import main
from clouds.data import beam, manifest, split_files
from clouds.data import make_tfrecords as make_tfrecords_module
from clouds.data.beam import Task
from clouds.data.masks.table import Table
from clouds.errors import InputError
from clouds.schema import Bands

FIRST = "0000000.jpg"
OTHERS = "0000001.jpg", "0000002.jpg"


def on_beam(sample, out, *flags):
    # DirectRunner looks for a runner called Prism first; without a place to find it
    # it would fetch it from GitHub.
    options = "--runner-options=--prism_location=none"
    return make_tfrecords(sample, out, "--runner", "DirectRunner", options, *flags)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert main.main(make_tfrecords(sample, folder, "--shards", "3")) == 0
    return folder


@pytest.fixture
def installed():
    pytest.importorskip("apache_beam", reason="needs the extra beam")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("workers", ["in_memory", "multi_processing"])
def test_records_made_on_beam_are_the_same(workers, sample, whole, tmp_path, capfd):
    arguments = on_beam(sample, tmp_path, "--shards", "3")
    arguments[-3] += f" --direct_running_mode={workers} --direct_num_workers=2"
    assert main.main(arguments) == 0
    assert contents(tmp_path) == contents(whole)
    shown = capfd.readouterr().out
    assert "writing 4 shards with DirectRunner" in shown
    assert "train 16, val 4" in shown


@pytest.mark.usefixtures("installed")
def test_beam_makes_the_missing_shards_only(sample, whole, tmp_path):
    arguments = on_beam(sample, tmp_path, "--shards", "3")
    made = manifest.load(str(whole))
    kept, *others = made.shards
    (tmp_path / kept.name).write_bytes(b"not made again")
    (tmp_path / "left-by-a-killed-worker.part").write_bytes(b"")
    missing = [shard._replace(size=None, sha256=None) for shard in others]
    manifest.save(str(tmp_path), made._replace(shards=(kept, *missing)))
    assert main.main(arguments) == 0
    expected = contents(whole) | {kept.name: b"not made again"}
    del expected[split_files.FILE]
    assert contents(tmp_path) == expected


@pytest.mark.usefixtures("installed")
def test_a_finished_folder_needs_no_runner(sample, whole, monkeypatch):
    monkeypatch.setattr(beam, "pipeline", None)
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir()}
    assert main.main(on_beam(sample, whole, "--shards", "3")) == 0
    assert before == {path: path.stat().st_mtime_ns for path in whole.iterdir()}


@pytest.mark.usefixtures("installed")
def test_bad_input_found_by_a_worker_is_one_line_and_leaves_nothing(
    copy_of_sample, tmp_path, capsys
):
    for name in (FIRST, *OTHERS):
        (copy_of_sample / "train_images" / name).write_bytes(b"")
    arguments = on_beam(copy_of_sample, tmp_path / "out", "--shards", "3")
    error = refused(capsys, arguments, "3 images cannot be converted: ")
    for name in (FIRST, *OTHERS):
        assert f"{name} (0 bytes) cannot be decoded" in error
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("installed")
def test_a_runner_that_fails_keeps_what_is_finished(
    sample, whole, tmp_path, monkeypatch
):
    rows = (whole / split_files.FILE).read_text().split()
    last = next(row.split(",")[0] for row in rows if row.endswith(",val"))
    examples = make_tfrecords_module._examples

    def examples_but_of_the_last(tasks):
        if any(task.table.images == [last] for task in tasks):
            raise RuntimeError("the worker is lost")
        return examples(tasks)

    monkeypatch.setattr(make_tfrecords_module, "_examples", examples_but_of_the_last)
    arguments = on_beam(sample, tmp_path, "--shards", "3")
    with pytest.raises(RuntimeError, match="the worker is lost"):
        main.main(arguments)
    cut_off = manifest.load(str(tmp_path))
    assert [bool(shard.sha256) for shard in cut_off.shards] == [True, True, True, False]
    assert not list(tmp_path.glob("*.part"))
    monkeypatch.setattr(make_tfrecords_module, "_examples", examples)
    assert main.main(make_tfrecords(sample, tmp_path, "--shards", "3")) == 0
    assert contents(tmp_path) == contents(whole)


@pytest.mark.usefixtures("installed")
def test_an_interrupt_is_one_on_beam_too(sample, tmp_path, monkeypatch):
    def interrupted(tasks):
        raise KeyboardInterrupt

    monkeypatch.setattr(make_tfrecords_module, "_examples", interrupted)
    assert main.main(on_beam(sample, tmp_path)) == 130
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.usefixtures("installed")
def test_options_that_the_runner_does_not_take_are_refused(sample, tmp_path, capsys):
    arguments = on_beam(sample, tmp_path, "--runner-options='")
    refused(capsys, arguments, "No closing quotation")
    assert not list(tmp_path.iterdir())


def test_without_beam_its_extra_is_named(sample, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    refused(capsys, on_beam(sample, tmp_path), "Run bin/setup beam")
    assert not list(tmp_path.iterdir())


def test_dataflow_with_local_paths_is_refused(sample, tmp_path, capsys):
    arguments = make_tfrecords(sample, tmp_path, "--runner", "DataflowRunner")
    refused(capsys, arguments, "visible to Dataflow's workers. Received: '/")


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    with pytest.raises(InputError, match="a worker does not see"):
        beam._write_shard("train-0", str(tmp_path / "elsewhere"), None)


@pytest.mark.parametrize("labelled", [True, False])
def test_tasks_read_from_json_equal_those_that_were_written(labelled):
    texts = np.array([["1 3", "", "5 2 9 1", ""]], object) if labelled else None
    rows = np.array([[2, 3, 4, 5]]) if labelled else None
    table = Table(["ä.jpg"], texts, rows, "train.csv")
    bands = Bands(("vis", "ir"), "uint16")
    task = Task("/images/\udce4.jpg", table, (64, 96), (350, 525), True, False, bands)
    (read,) = beam.from_json(beam.to_json([task]))
    assert read._replace(table=None) == task._replace(table=None)
    assert (read.table.images, read.table.path) == (table.images, table.path)
    np.testing.assert_array_equal(read.table.texts, texts)
    np.testing.assert_array_equal(read.table.rows, rows)
    if labelled:
        assert read.table.where(0, 2) == "train.csv, row 4"
        np.testing.assert_array_equal(read.table.present, table.present)
