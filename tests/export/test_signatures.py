import io

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from clouds import rle, schema
from clouds.config.rule import Rule
from clouds.data.images import preprocessing
from clouds.data.scenes import scene
from clouds.export import signatures
from clouds.postprocess import apply
from clouds.schema import Bands

SIZE = (24, 36)
RULE = Rule(thresholds=(0.4, 0.4, 0.3, 0.4), min_sizes=(300, 300, 300, 0))
SCENE, _ = scene(1, (70, 90))


def written(image, kind="png", mode=None, **options):
    contents = io.BytesIO()
    Image.fromarray(image).convert(mode).save(contents, kind, **options)
    return contents.getvalue()


PNG = written(SCENE)


def png_of_size(height, width):
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return PNG[:16] + header + PNG[24:]


@pytest.fixture(scope="module")
def network():
    """A network whose probabilities are the channels and their mean."""
    images = keras.Input((*SIZE, 3), dtype="uint8")
    shares = keras.ops.cast(images, "float32") / 255
    mean = keras.ops.mean(shares, axis=-1, keepdims=True)
    return keras.Model(images, keras.ops.concatenate([shares, mean], -1))


def functions(network, *, exact=False):
    built = signatures.build(network, RULE, exact=exact)
    return {
        name: tf.function(function, input_signature=[spec], autograph=False)
        for name, (function, spec) in built.items()
    }


@pytest.fixture(scope="module")
def served(network):
    return functions(network)


@pytest.fixture(scope="module")
def answer(served):
    return {
        key: value.numpy()
        for key, value in served["serving_default"](tf.constant([PNG, PNG])).items()
    }


@pytest.mark.parametrize("exact", [False, True])
def test_files_are_processed_as_in_training_and_prediction(network, exact):
    served = functions(network, exact=exact)
    image, _ = preprocessing.decode(tf.constant(PNG), SIZE, exact=exact)
    probabilities = network(image[None])
    _, text = apply(
        probabilities,
        RULE,
        image[None],
        schema.SUBMISSION_SIZE,
        outputs=("raw_rle", "rle"),
    ).values()
    assert all(text.numpy()[0])
    answer = served["serving_default"](tf.constant([PNG]))
    assert (answer["rle"] == text).numpy().all()
    predicted = served["probabilities"](tf.constant([PNG]))["probabilities"]
    np.testing.assert_allclose(predicted, probabilities, atol=1e-6)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", ["images", "images_uint8"])
def test_pixels_give_the_same_as_a_png_of_them(network, name, exact):
    served = functions(network, exact=exact)
    dtype = tf.float32 if name == "images" else tf.uint8
    expected = served["serving_default"](tf.constant([PNG]))
    answer = served[name](tf.cast(SCENE[None], dtype))
    assert answer.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(answer[key], value)


def test_an_answer_has_rle_score_area_and_label_of_each_image(answer):
    dtypes = {key: (value.shape, value.dtype) for key, value in answer.items()}
    assert dtypes == {
        "rle": ((2, 4), np.dtype(object)),
        "score": ((2, 4), np.float32),
        "area": ((2, 4), np.int32),
        "label": ((2, 4), np.dtype(object)),
        "grid": ((2, 2), np.int32),
    }
    assert answer["grid"].tolist() == [list(schema.SUBMISSION_SIZE)] * 2
    assert answer["label"].astype(str).tolist() == [list(schema.CLOUDS.labels)] * 2
    for text, area in zip(answer["rle"].flat, answer["area"].flat, strict=True):
        mask = rle.decode(text.decode(), schema.SUBMISSION_SIZE)
        assert mask.sum() == area > 0
    assert ((answer["score"] > 0.4) & (answer["score"] <= 1)).all()


def test_masks_are_returned_as_black_and_white_pngs(served, answer):
    pngs = served["masks_png"](tf.constant([PNG]))["mask_bytes"].numpy()
    assert pngs.shape == (1, 4)
    for png, text in zip(pngs[0], answer["rle"][0], strict=True):
        mask = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        expected = rle.decode(text.decode(), schema.SUBMISSION_SIZE)
        np.testing.assert_array_equal(mask, expected * 255)


GREY = cv2.cvtColor(SCENE, cv2.COLOR_RGB2GRAY)
ALPHA = np.dstack([SCENE, np.full(SCENE.shape[:2], 77, np.uint8)])
ON_BLACK = ((SCENE.astype(int) * 77 + 127) // 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("contents", "seen"),
    [
        (written(GREY), np.dstack([GREY] * 3)),
        (written(ALPHA), ON_BLACK),
        (cv2.imencode(".png", SCENE[..., ::-1] * np.uint16(257))[1].tobytes(), SCENE),
        (written(SCENE, "bmp"), SCENE),
        (written(np.dstack([GREY] * 3), mode="P"), None),
        (written(SCENE, "jpeg", "CMYK", quality=95), SCENE),
        (written(GREY, "jpeg", quality=95), np.dstack([GREY] * 3)),
        (written(SCENE[:1, :1]), SCENE[:1, :1]),
        (written(SCENE[:1, :1], "jpeg"), None),
    ],
)
def test_images_of_every_kind_give_the_same_as_their_pixels(served, contents, seen):
    answer = served["probabilities"](tf.constant([contents]))["probabilities"]
    assert answer.shape == (1, *SIZE, 4)
    if seen is not None:
        expected, _ = preprocessing.decode(tf.constant(written(seen)), SIZE)
        off = np.abs(answer[0, ..., :3].numpy() * 255 - expected.numpy())
        assert off.mean() < (4 if contents.startswith(b"\xff\xd8") else 0.01)


def refused(served, message, request, name="serving_default"):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served[name](tf.constant(request))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "must be a JPEG, PNG or BMP"),
        (b"\x89PNG", "must be a JPEG, PNG or BMP"),
        (b"text that is long enough to be one of these", "JPEG, PNG or BMP"),
        (written(SCENE, "gif"), "must be a JPEG, PNG or BMP"),
        (written(SCENE, "webp"), "must be a JPEG, PNG or BMP"),
        (PNG[:-900], "PNG"),
        (PNG[:20], "PNG"),
        (written(SCENE, "jpeg")[:900], "JPEG"),
        (written(SCENE, "jpeg")[:20], "JPEG"),
        (written(SCENE, "bmp")[:900], "Input size should match"),
        (b"BM", "(?i)bmp"),
    ],
)
def test_a_damaged_file_fails_the_batch(served, contents, message):
    refused(served, message, [PNG, contents])


EXIF = Image.Exif()
EXIF[274] = 6


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (written(SCENE, "jpeg", exif=EXIF), "upright"),
        (written(SCENE, "png", exif=EXIF), "upright"),
        (written(SCENE, "bmp", mode="P"), "a BMP of 24 bits"),
        (written(SCENE, "bmp", mode="RGBA"), "a BMP of 24 bits"),
        (written(SCENE, transparency=(1, 2, 3)), "with an alpha channel"),
        (cv2.imencode(".png", GREY.astype(np.uint16))[1].tobytes(), "almost black"),
    ],
)
def test_a_file_that_the_graph_would_decode_wrongly_is_refused(
    served, contents, message
):
    refused(served, message, [PNG, contents])


def test_an_orientation_of_upright_is_accepted(served):
    exif = Image.Exif()
    exif[274] = 1
    for kind in ("jpeg", "png"):
        files = tf.constant([written(SCENE, kind, exif=exif)])
        assert len(served["serving_default"](files)["rle"]) == 1


def test_an_image_with_too_many_pixels_is_not_decoded(served):
    for height, width in ((30000, 30000), (1, 2**31 - 1), (2**32 - 1, 2**32 - 1)):
        refused(served, "100000000 pixels at most", [png_of_size(height, width)])
    tall = bytearray(written(SCENE, "bmp"))
    tall[18:26] = (20000).to_bytes(4, "little") + (-20000).to_bytes(
        4, "little", signed=True
    )
    refused(served, "pixels at most", [bytes(tall)])
    jpeg = written(SCENE, "jpeg")
    at = jpeg.index(b"\xff\xc0") + 5
    wide = jpeg[:at] + (60000).to_bytes(2, "big") * 2 + jpeg[at + 4 :]
    refused(served, "pixels at most", [wide])


@pytest.mark.parametrize("value", [-1, 256, np.nan, np.inf])
def test_floats_that_are_not_pixels_are_refused(served, value):
    images = np.full((1, 4, 4, 3), 128, np.float32)
    images[0, 1, 2, 0] = value
    refused(served, "numbers from 0 to 255", images, "images")


def test_floats_of_the_unit_interval_are_refused(served):
    images = np.stack([SCENE.astype(np.float32), SCENE / np.float32(255)])
    refused(served, "an image of 0 to 1 only", images, "images")
    assert len(served["images"](tf.zeros((1, 4, 4, 3)))["rle"]) == 1


def test_an_empty_batch_or_image_is_refused(served):
    refused(served, "must hold an image", np.zeros(0, object))
    refused(served, "must hold an image", np.zeros((0, 4, 4, 3), "f4"), "images")
    with pytest.raises(tf.errors.InvalidArgumentError):
        served["images_uint8"](tf.zeros((1, 0, 4, 3), tf.uint8))


def test_the_orbit_gap_is_removed_from_the_masks(network):
    image = np.full((*SIZE, 3), 255, np.uint8)
    image[:, 20:] = 0
    bright = keras.Sequential([keras.Input((*SIZE, 3), dtype="uint8")])
    bright.add(keras.layers.Lambda(lambda x: keras.ops.ones((1, *SIZE, 4))))
    for gap, columns in ((True, 20), (False, 36)):
        built = signatures.build(bright, Rule(gap=gap))
        area = built["images_uint8"][0](image[None])["area"]
        share = area.numpy() / np.prod(schema.SUBMISSION_SIZE)
        assert share == pytest.approx(columns / 36, abs=0.03)


def of_bands(bands):
    """Signatures of a network whose probabilities are the first and the last band."""
    count, highest = len(bands.names), {"uint16": 65535.0, "float32": 1.0}[bands.dtype]
    images = keras.Input((*SIZE, count), dtype=bands.dtype)
    shares = keras.ops.cast(images, "float32") / highest
    ends = keras.ops.concatenate([shares[..., :1], shares[..., -1:]], -1)
    spec, rule = schema.MaskSpec(("a", "b"), SIZE), Rule(**TWO)
    built = signatures.build(keras.Model(images, ends), rule, spec=spec, bands=bands)
    return {
        name: tf.function(function, input_signature=[given], autograph=False)
        for name, (function, given) in built.items()
    }


TWO = {"thresholds": (0.5, 0.5), "min_sizes": (0, 0), "gap": False}
PAIR = Bands(("vis", "ir"), "uint16")


@pytest.fixture(scope="module")
def of_pair():
    return of_bands(PAIR)


def blocks(count, dtype):
    """Images of random blocks, so that averages over them are exact."""
    values = np.random.default_rng(0).random((3, *SIZE, count))
    values = (values * (65535 if dtype == "uint16" else 1)).astype(dtype)
    return values, values.repeat(2, 1).repeat(2, 2)


def test_bands_of_16_bits_are_taken_as_pngs_and_as_numbers(of_pair):
    small, large = blocks(2, "uint16")
    expected = small[..., [0, 1]].astype("f4") / 65535
    files = tf.constant([tf.io.encode_png(image).numpy() for image in large])
    found = of_pair["probabilities"](files)["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    by_file, by_number = of_pair["serving_default"](files), of_pair["images"](large)
    for k, image in enumerate(expected):
        for label in range(2):
            mask = rle.decode(by_file["rle"][k, label].numpy().decode(), SIZE)
            np.testing.assert_array_equal(mask, image[..., label] > 0.5)
    for name in by_file:
        np.testing.assert_array_equal(by_file[name], by_number[name])
    assert "images_uint8" not in of_pair


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (tf.io.encode_png(np.ones((4, 4, 2), np.uint8)), "a PNG of 2 bands of uint16"),
        (tf.io.encode_png(np.ones((4, 4, 3), np.uint16)), "a PNG of 2 bands of uint16"),
        (tf.io.encode_jpeg(np.ones((4, 4, 3), np.uint8)), "a PNG of 2 bands of uint16"),
        (b"\x89PNG\r\n\x1a\n", "Image must"),
        (b"", "Image must"),
    ],
)
def test_files_of_other_bands_are_refused(of_pair, contents, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        of_pair["serving_default"](tf.reshape(tf.constant(contents), [1]))


def test_bands_that_no_png_holds_are_taken_as_numbers():
    served = of_bands(Bands(tuple("abcde"), "float32"))
    small, large = blocks(5, "float32")
    for name in ("serving_default", "probabilities", "images", "masks_png"):
        (given,) = served[name].input_signature
        assert (given.name, given.dtype, given.shape[-1]) == ("images", tf.float32, 5)
    found = served["probabilities"](large)["probabilities"]
    np.testing.assert_allclose(found, small[..., [0, 4]], atol=1e-6)
    large[0, 0, 0, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="finite numbers"):
        served["serving_default"](large)
