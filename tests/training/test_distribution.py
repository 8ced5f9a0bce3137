import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from helpers.commands import QUICK_JAX, ROOT, cached_jax

from clouds.config.training import Training
from clouds.errors import InputError
from clouds.runs import checkpoints
from clouds.training import distribution

FLAG = "--xla_force_host_platform_device_count=2"
TWO = {**QUICK_JAX, "XLA_FLAGS": f"{QUICK_JAX['XLA_FLAGS']} {FLAG}"}
STARTED = []


def start(mode, records, run, *flags, **environment):
    line = [
        sys.executable,
        ROOT / "tests/helpers/on_devices.py",
        mode,
        records,
        run,
        *flags,
    ]
    process = subprocess.Popen(
        list(map(str, line)),
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    return process


@pytest.fixture(scope="module", autouse=True)
def none_is_left():
    yield
    for process in STARTED:
        process.kill()
        with process:
            pass


def ended(process, code=0, timeout=240):
    shown, errors = process.communicate(timeout=timeout)
    assert process.returncode == code, shown + errors
    return shown, errors


def history(folder):
    return pd.read_csv(folder / "history.csv")


@pytest.fixture(scope="module")
def begun(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    on_jax = start("jax", records, folder, **TWO)
    return folder, {"jax": on_jax, "mirrored": start("mirrored", records, folder)}


@pytest.fixture(scope="module")
def on_jax(begun):
    """A folder with the run `one` on one device and the run `two` on two; the output.

    A batch is all 16 training images, whose order then does not matter.
    """
    folder, processes = begun
    return folder, *ended(processes["jax"])


@pytest.fixture(scope="module")
def on_tensorflow(begun):
    said, found = ended(begun[1]["mirrored"])[0].splitlines()
    return said, json.loads(found)


def test_two_devices_of_jax_give_the_losses_of_one(on_jax):
    folder, shown, _ = on_jax
    one, two = history(folder / "one"), history(folder / "two")
    assert len(one) == 10
    assert one["loss"].iloc[-1] < one["loss"].iloc[0] - 0.01
    np.testing.assert_allclose(two["loss"], one["loss"], atol=1e-5)
    np.testing.assert_allclose(two["val_loss"], one["val_loss"], atol=1e-3)
    np.testing.assert_allclose(two["val_mean_dice"], one["val_mean_dice"], atol=1e-3)
    assert "2 devices, DataParallel on JAX; batch normalization over" in shown


def test_two_devices_of_jax_move_images_as_one_does(on_jax):
    one, two = np.array(json.loads(on_jax[1].splitlines()[-1]))
    assert (abs(one - two) <= 1).mean() > 0.99
    assert (one[1:] != one[:1]).any()


def test_two_devices_of_tensorflow_add_up_the_gradients_of_one(on_tensorflow):
    said, found = on_tensorflow
    assert said.startswith("2 devices, MirroredStrategy on TensorFlow;")
    assert "batch normalization per device" in said
    assert len(found["twice"]) == 10
    assert found["once"][-1] < found["once"][0]
    np.testing.assert_allclose(found["twice"], found["once"], atol=1e-5)


def test_two_devices_of_tensorflow_lose_as_their_halves_do(on_tensorflow):
    _, found = on_tensorflow
    assert found["both"][0] == pytest.approx(np.mean(found["halves"]), abs=1e-5)
    # Normalised, and Dice pooled, over each half.
    assert found["both"][0] != pytest.approx(found["whole"][0], abs=1e-3)


def test_two_devices_of_tensorflow_validate_as_one_does(on_tensorflow):
    _, found = on_tensorflow
    two, one = found["judged_by_two"], found["judged_by_one"]
    assert two == pytest.approx(one, abs=1e-5)


def test_two_devices_of_tensorflow_move_images_as_one_does(on_tensorflow):
    one, two = map(np.array, on_tensorflow[1]["moved"])
    assert (abs(one - two) <= 1).mean() > 0.99
    assert (one[:2] != one[2:]).any()


def both_hosts(records, run, *flags, compiled):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    flags = ("--hosts", 2, "--coordinator", coordinator, *flags)
    return [
        start("train", records, run, *flags, "--host-index", host, **compiled)
        for host in range(2)
    ]


def test_two_hosts_of_which_one_is_killed_go_on_and_end_as_one_device(
    on_jax, records, tmp_path
):
    run, compiled = tmp_path / "run", cached_jax(tmp_path / "compiled")
    first, second = both_hosts(records, run, compiled=compiled)
    deadline = time.monotonic() + 120
    while len(checkpoints.paths(run)) < 2:
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second.kill()
    shown, errors = ended(first, code=2, timeout=60)
    assert "Host 0 of 2, 1 device per host, DataParallel on JAX" in shown
    assert "Start all hosts again: they resume" in errors
    ended(second, code=-9)
    before, _ = checkpoints.load(run)
    assert before.epoch < 10
    for process in both_hosts(records, run, compiled=compiled):
        assert f"Resuming after {before.epoch} epoch" in ended(process)[0]
    alone, shared = history(on_jax[0] / "one"), history(run)
    np.testing.assert_allclose(shared["loss"], alone["loss"], atol=1e-4)
    np.testing.assert_allclose(shared["val_loss"], alone["val_loss"], atol=1e-3)
    assert shared["epoch"].tolist() == list(range(10))


def settings(**flags):
    return Training(records="records", run="run", **flags)


def test_several_hosts_on_tensorflow_are_refused():
    with pytest.raises(InputError, match="Set KERAS_BACKEND=jax"):
        distribution.start(settings(hosts=2))


@pytest.mark.parametrize("flags", [{"accumulate": 2}, {"clip_norm": 1.0}])
def test_what_keras_cannot_share_out_on_tensorflow_is_refused(flags):
    with pytest.raises(InputError, match="--accumulate and --clip-norm cannot be used"):
        distribution.start(settings(devices=2, **flags))


def test_one_device_needs_nothing():
    on = distribution.start(settings())
    assert on == distribution.Devices(count=1, host=0, hosts=1, strategy=None)
    assert on.repeat(1, 2) == (1, 2)


def test_a_host_that_is_none_of_the_hosts_is_refused():
    with pytest.raises(InputError, match="Received: 2, of 2 hosts"):
        settings(hosts=2, host_index=2)


def test_a_batch_that_cannot_be_shared_out_is_refused(on_jax):
    folder, _, errors = on_jax
    assert "Received: 15, for 2 devices. Give a multiple of 2." in errors
    assert not (folder / "odd").exists()


def test_hosts_that_jax_cannot_find_are_refused(records, tmp_path):
    process = start("train", records, tmp_path, "--hosts", 2, **QUICK_JAX)
    message = "--coordinator must be given where JAX cannot detect the hosts"
    assert message in ended(process, code=2)[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ([0, 3, 1], "epoch 3 and step 0, epoch 3 and step 1"),
        ([1, 3, 0], "the same flags, except for --host-index"),
    ],
)
def test_hosts_that_would_not_do_the_same_are_refused(other, message, monkeypatch):
    from jax.experimental import multihost_utils

    def gather(here):
        return np.array([here, [here[0] + other[0], *other[1:]]])

    monkeypatch.setattr(multihost_utils, "process_allgather", gather)
    with pytest.raises(InputError, match=message):
        distribution.Devices(hosts=2).agree(settings(), 3, 0)
    distribution.Devices().agree(settings(), 3, 0)


def test_what_follows_from_a_lost_host_is_told_as_its_loss(monkeypatch):
    leaving = []
    monkeypatch.setattr(
        distribution.atexit, "register", lambda *call: leaving.append(call)
    )
    on = distribution.Devices(hosts=2)
    with (
        pytest.raises(
            InputError, match="lost the connection to another host .Gloo broke"
        ),
        on.together(),
    ):
        try:
            raise ValueError("Gloo broke")
        except ValueError:
            raise RuntimeError("Array has been deleted.") from None
    with pytest.raises(ZeroDivisionError), on.together():
        raise ZeroDivisionError
    assert [code for _, code in leaving] == [2, 1]


def test_every_host_but_the_first_writes_elsewhere(tmp_path):
    with distribution.Devices(host=0, hosts=2).folder(str(tmp_path)) as folder:
        assert folder == tmp_path
    with distribution.Devices(host=1, hosts=2).folder(str(tmp_path)) as folder:
        assert folder.is_dir()
        assert folder != tmp_path
    assert not folder.exists()
