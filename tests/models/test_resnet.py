import keras

from clouds.models import resnet


def test_features_halve_the_size_five_times():
    features = resnet.encode(keras.Input((64, 96, 3)))
    shapes = [feature.shape[1:] for feature in features]
    assert shapes == [
        (32, 48, 64),
        (16, 24, 64),
        (8, 12, 128),
        (4, 6, 256),
        (2, 3, 512),
    ]


def test_the_encoder_has_the_published_number_of_parameters():
    images = keras.Input((64, 96, 3))
    encoder = keras.Model(images, resnet.encode(images)[-1])
    assert encoder.count_params() == 21_302_473
    layers = [layer for layer in encoder.layers if layer.weights]
    assert len(layers) == 72
    assert len(encoder.weights) == 176
