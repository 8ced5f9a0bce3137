import dataclasses
import json
import shutil

import numpy as np
import pytest

from clouds import config, run
from clouds.errors import InputError

settings = config.Training(records="r", run="x", size=(64, 96), precision="float32")


def test_the_settings_written_are_the_settings_read(tmp_path):
    chosen = dataclasses.replace(settings, run=str(tmp_path / "new"), epochs=7)
    run.create(chosen)
    assert run.settings(chosen.run) == chosen


def test_a_folder_with_a_run_is_refused_unless_it_may_be_replaced(tmp_path):
    chosen = dataclasses.replace(settings, run=str(tmp_path))
    run.create(chosen)
    (tmp_path / run.WEIGHTS).write_bytes(b"old")
    with pytest.raises(InputError, match="holds a run"):
        run.create(chosen)
    assert (tmp_path / run.WEIGHTS).exists()
    run.create(dataclasses.replace(chosen, overwrite=True))
    assert not (tmp_path / run.WEIGHTS).exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no config.json"):
        run.load(str(tmp_path))


def test_a_run_without_weights_is_refused(tmp_path):
    run.create(dataclasses.replace(settings, run=str(tmp_path)))
    with pytest.raises(InputError, match=r"has no best.weights.h5"):
        run.load(str(tmp_path))


def test_damaged_settings_and_weights_are_refused(run, tmp_path):
    from clouds import run as module

    copy = shutil.copytree(run, tmp_path / "copy")
    whole = (copy / module.WEIGHTS).read_bytes()
    (copy / module.WEIGHTS).write_bytes(whole[:1000])
    with pytest.raises(InputError, match="Weights must be"):
        module.load(str(copy))
    (copy / module.CONFIG).write_text("{")
    with pytest.raises(InputError, match="Settings must be"):
        module.load(str(copy))
    (copy / module.CONFIG).write_text(json.dumps({"size": [64, 96], "new": 1}))
    with pytest.raises(InputError, match="Settings must be"):
        module.load(str(copy))


def test_the_loaded_network_goes_from_pixels_to_probabilities(run):
    from clouds import run as module

    network = module.load(str(run))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), np.uint8)
    probabilities = network.predict_on_batch(pixels)
    assert probabilities.shape == (2, 64, 96, 4)
    assert probabilities.dtype == np.float32
    assert 0 <= probabilities.min() < probabilities.max() <= 1
