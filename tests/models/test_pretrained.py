import hashlib
import re

import h5py
import numpy as np
import pytest

from clouds.cli import main
from clouds.config.training import Training
from clouds.errors import InputError
from clouds.models import pretrained, unet
from clouds.training import trainer as trainer_module

SIZE = (32, 64)


@pytest.fixture(scope="module")
def peer():
    """Arrays by layer, as Keras 2 names them, none of which is a start's."""
    rng = np.random.default_rng(0)
    return {
        layer.name: {
            variable.name: rng.random(variable.shape, np.float32)
            for variable in layer.weights
        }
        for layer in unet.build(SIZE).layers
        if layer.weights
    }


@pytest.fixture
def network():
    return unet.build(SIZE)


def encoder(by_layer):
    decoder = ("decoder_", "final_conv")
    return {k: dict(v) for k, v in by_layer.items() if not k.startswith(decoder)}


def put(group, names_of, names, arrays):
    group.attrs[names_of] = [name.encode() for name in names]
    for name, array in arrays.items():
        group[name] = array


def write(path, by_layer, within=None, nest=None, scope="{}"):
    """Writes as Keras 2 does: a group a layer, or one for all of a nested model."""
    groups = {
        layer: {f"{scope.format(layer)}/{k}:0": v for k, v in arrays.items()}
        for layer, arrays in by_layer.items()
    }
    if nest:
        groups = {nest: {k: v for arrays in groups.values() for k, v in arrays.items()}}
    with h5py.File(path, "w") as file:
        root = file.create_group(within) if within else file
        put(root, "layer_names", ["data", *groups, "relu0"], {})
        for empty in ("data", "relu0"):
            put(root.create_group(empty), "weight_names", [], {})
        for name, arrays in groups.items():
            put(root.create_group(name), "weight_names", arrays, arrays)
    return path


def same(network, by_layer):
    return all(
        (np.array(variable) == by_layer[layer.name][variable.name]).all()
        for layer in network.layers
        if layer.name in by_layer
        for variable in layer.weights
    )


@pytest.mark.parametrize(
    "form",
    [{}, {"within": "model_weights"}, {"nest": "resnet34"}, {"scope": "{}_1"}],
)
def test_every_form_of_a_keras_2_file_is_read_by_layer(tmp_path, peer, form):
    path = write(tmp_path / "x.h5", encoder(peer), **form)
    read = pretrained.read(path)
    assert read.keys() == encoder(peer).keys()
    for name, arrays in read.items():
        assert arrays.keys() == peer[name].keys()
        assert all((array == peer[name][key]).all() for key, array in arrays.items())


def test_a_whole_network_is_loaded_and_counted(tmp_path, peer, network):
    path = write(tmp_path / "x.h5", peer)
    assert pretrained.load(network, path) == f"93 layers (228 arrays) from {path}"
    assert same(network, peer)


def test_an_encoder_leaves_the_decoder_as_it_was(tmp_path, peer, network):
    path = write(tmp_path / "x.h5", encoder(peer))
    before = network.get_layer("final_conv").get_weights()
    line = pretrained.load(network, path)
    assert line == f"72 layers (176 arrays) from {path}; without a decoder"
    assert same(network, encoder(peer))
    after = network.get_layer("final_conv").get_weights()
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_the_order_counts_where_the_names_are_others(tmp_path, peer, network):
    numbered = {
        layer: {f"weight_{n}": array for n, array in enumerate(arrays.values())}
        for layer, arrays in peer.items()
    }
    pretrained.load(network, write(tmp_path / "x.h5", numbered))
    assert same(network, peer)


def test_what_else_a_file_holds_or_lacks_is_listed(tmp_path, peer, network):
    other = {
        name: arrays for name, arrays in peer.items() if name != "decoder_stage0a_bn"
    }
    other["final_conv"] = {"kernel": np.zeros((3, 3, 16, 1)), "bias": np.zeros(1)}
    other["fc1"] = {"kernel": np.zeros((512, 10)), "bias": np.zeros(10)}
    line = pretrained.load(network, write(tmp_path / "x.h5", other))
    assert line.startswith("91 layers (222 arrays) from")
    assert line.endswith(
        "; without decoder_stage0a_bn; other shapes: final_conv with "
        "kernel(3, 3, 16, 1) bias(1,) instead of kernel(3, 3, 16, 4) bias(4,); "
        "not used: fc1"
    )


def test_an_encoder_that_does_not_fit_is_refused_with_a_list(tmp_path, peer, network):
    other = encoder(peer)
    del other["stage1_unit3_bn1"], other["stage4_unit3_conv2"]
    other["conv0"] = {"kernel": np.zeros((7, 7, 3, 32))}
    other["bn_data"]["gamma"] = other["bn_data"].pop("beta")
    before = network.get_layer("bn0").get_weights()
    with pytest.raises(InputError) as refused:
        pretrained.load(network, write(tmp_path / "x.h5", other))
    message = str(refused.value)
    assert "; without stage1_unit3_bn1, stage4_unit3_conv2, decoder_" in message
    assert "conv0 with kernel(7, 7, 3, 32) instead of kernel(7, 7, 3, 64)" in message
    assert "bn_data with moving_mean(3,) moving_variance(3,) gamma(3,)" in message
    after = network.get_layer("bn0").get_weights()
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (None, "which does not exist"),
        (b"text", "which is no HDF5 file or damaged"),
        ({}, "which has no layers"),
    ],
)
def test_what_is_no_file_of_keras_is_refused(tmp_path, network, contents, message):
    path = tmp_path / "x.h5"
    if contents == {}:
        h5py.File(path, "w").close()
    elif contents:
        path.write_bytes(contents)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}, {message}"):
        pretrained.load(network, path)


def settings(source, **changes):
    options = {"records": "r", "run": "x", "precision": "float32", **changes}
    return Training(**options, encoder_weights=str(source))


def test_a_run_of_ours_is_where_another_starts(run, tmp_path, capsys):
    from clouds.runs import network as network_module
    from clouds.runs import run_folder

    trained = network_module.load_one(str(run)).get_layer("unet_resnet34")
    started = trainer_module.build(settings(run, size=(32, 64))).network
    for layer in started.layers:
        if layer.weights:
            expected = trained.get_layer(layer.name).get_weights()
            for array, other in zip(layer.get_weights(), expected, strict=True):
                assert (array == other).all()
    line = f"Encoder weights: 93 layers (228 arrays) from {run / run_folder.WEIGHTS}\n"
    assert line in capsys.readouterr().out
    with pytest.raises(InputError, match=r"best.weights.h5, which does not exist"):
        trainer_module.build(settings(tmp_path, size=(32, 64)))


def test_a_file_that_is_missing_ends_training_before_its_folder_is_made(
    records, tmp_path, capsys
):
    flags = ["--records", records, "--run", tmp_path / "run", "--batch-size", 4]
    flags += ["--encoder-weights", tmp_path / "x.h5"]
    assert main.main(["train", *map(str, flags)]) == 2
    assert (
        f"Received: {tmp_path / 'x.h5'}, which does not exist"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/models"


def test_imagenet_is_fetched_once_and_checked(
    tmp_path, peer, network, cache, monkeypatch
):
    path = write(tmp_path / "resnet34_imagenet_1000_no_top.h5", encoder(peer))
    monkeypatch.setattr(pretrained, "URL", path.as_uri())
    with pytest.raises(InputError, match="ImageNet weights could not be downloaded"):
        pretrained.fetch()
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(pretrained, "MD5", digest)
    line = pretrained.load(network, "imagenet")
    assert line.startswith(f"72 layers (176 arrays) from {cache / path.name}")
    assert same(network, encoder(peer))
    path.unlink()
    assert pretrained.fetch() == cache / path.name


def test_offline_the_message_says_where_to_put_the_file(cache, monkeypatch):
    name = pretrained.URL.rpartition("/")[-1]
    url = f"http://127.0.0.1:9/{name}"
    monkeypatch.setattr(pretrained, "URL", url)
    with pytest.raises(InputError) as refused:
        pretrained.fetch()
    message = str(refused.value)
    assert f"from {url} (URL fetch failure" in message
    assert f"MD5 {pretrained.MD5}) and save it as {cache / name}" in message
    assert not (cache / name).exists()
    (cache / name).write_bytes(b"weights")
    monkeypatch.setattr(pretrained, "MD5", hashlib.md5(b"weights").hexdigest())
    assert pretrained.fetch() == cache / name


def test_the_first_kernel_is_averaged_for_other_bands(peer, tmp_path):
    network = unet.build(SIZE, bands=2)
    said = pretrained.load(network, write(tmp_path / "a.h5", encoder(peer)))
    assert "conv0 is the mean over 3 bands, for each of 2, and bn_data keeps" in said
    kernel, first = network.get_layer("conv0").kernel, peer["conv0"]["kernel"]
    expected = np.repeat(first.mean(2, keepdims=True) * 3 / 2, 2, axis=2)
    np.testing.assert_allclose(kernel, expected, rtol=1e-6)
    # An image of alike bands gets the response that it got in three.
    np.testing.assert_allclose(np.sum(kernel, 2), first.sum(2), rtol=1e-5)
    assert not np.any(network.get_layer("bn_data").moving_mean)
    later = network.get_layer("bn0").moving_mean
    np.testing.assert_array_equal(later, peer["bn0"]["moving_mean"])
