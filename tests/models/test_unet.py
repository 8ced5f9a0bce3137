import keras
import numpy as np
import pytest

from clouds.errors import InputError
from clouds.models import unet


@pytest.fixture(scope="module")
def network():
    return unet.build((64, 96))


def parameters(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_the_parameters_are_those_of_segmentation_models(network):
    assert network.count_params() == 24_456_589
    assert parameters(network.trainable_weights) == 24_439_239
    assert parameters(network.non_trainable_weights) == 17_350
    assert len([layer for layer in network.layers if layer.weights]) == 93
    assert len(network.weights) == 228
    assert unet.build((64, 96), classes=1).count_params() == 24_456_154


def test_the_layers_bear_the_published_names(network):
    names = {layer.name for layer in network.layers}
    assert {"bn_data", "conv0", "bn0", "relu0", "pooling0", "bn1", "relu1"} <= names
    assert {"stage1_unit1_sc", "stage4_unit3_conv2", "stage3_unit6_bn1"} <= names
    assert {"decoder_stage0a_conv", "decoder_stage4b_relu", "final_conv"} <= names


def test_skips_come_from_the_published_layers(network):
    skips = ["stage4_unit1_relu1", "stage3_unit1_relu1", "stage2_unit1_relu1", "relu0"]
    below = ["relu1", *(f"decoder_stage{stage}b_relu" for stage in range(4))]
    for stage, wanted in enumerate(zip(below, [*skips, None], strict=True)):
        layer = network.get_layer(f"decoder_stage{stage}a_conv")
        sources = [node.operation.name for node in layer._inbound_nodes[0].parent_nodes]
        assert sources == [name for name in wanted if name]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_logits_and_weights_are_float32_under_every_policy(precision):
    network = unet.build((32, 64), dtype=precision)
    logits = network(np.zeros((2, 32, 64, 3), np.float32))
    assert logits.shape == (2, 32, 64, 4)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    assert {weight.dtype for weight in network.weights} == {"float32"}
    wanted = keras.dtype_policies.get(precision).compute_dtype
    assert network.get_layer("final_conv").compute_dtype == wanted


def test_a_size_that_is_no_multiple_of_32_is_padded_with_black():
    padded, network = unet.build((64, 96)), unet.build((50, 75))
    network.set_weights(padded.get_weights())
    images = np.random.default_rng(0).random((1, 50, 75, 3), np.float32)
    in_black = np.pad(images, [(0, 0), (0, 14), (0, 21), (0, 0)])
    np.testing.assert_allclose(
        network(images), padded(in_black)[:, :50, :75], rtol=1e-4, atol=1e-5
    )
    assert network.count_params() == padded.count_params()


@pytest.mark.parametrize("size", [320, (64, 96, 3), (64,), None])
def test_a_size_that_is_no_height_and_width_is_refused(size):
    with pytest.raises(InputError, match=r"must be \(height, width\). Received: "):
        unet.build(size)


def test_only_the_first_layers_follow_the_bands():
    colours, bands = unet.build((32, 64)), unet.build((32, 64), bands=2)
    shapes = [{w.path: w.shape for w in model.weights} for model in (colours, bands)]
    differing = {path for path in shapes[0] if shapes[0][path] != shapes[1][path]}
    assert {path.partition("/")[0] for path in differing} == {"bn_data", "conv0"}
    assert bands.get_layer("conv0").kernel.shape == (7, 7, 2, 64)
    assert bands(np.zeros((1, 32, 64, 2), "float32")).shape == (1, 32, 64, 4)
