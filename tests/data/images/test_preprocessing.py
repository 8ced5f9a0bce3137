import cv2
import numpy as np
import pytest
import tensorflow as tf

from clouds.data import scenes
from clouds.data.images import preprocessing

image, _ = scenes.scene(0, (96, 144))


def encoded(suffix=".jpg", pixels=image[..., ::-1], *options):
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


def decode(contents, size):
    return [
        tensor.numpy() for tensor in preprocessing.decode(tf.constant(contents), size)
    ]


@pytest.mark.parametrize(
    ("size", "flag"),
    [
        ((96, 144), cv2.IMREAD_COLOR),
        ((48, 72), cv2.IMREAD_REDUCED_COLOR_2),
        ((24, 36), cv2.IMREAD_REDUCED_COLOR_4),
        ((12, 18), cv2.IMREAD_REDUCED_COLOR_8),
    ],
)
def test_a_jpeg_is_reduced_by_its_decoder_as_opencv_does_it(size, flag):
    contents = encoded()
    expected = cv2.imdecode(np.frombuffer(contents, np.uint8), flag)[..., ::-1]
    decoded, original = decode(contents, size)
    assert (decoded == expected).all()
    assert original.tolist() == [96, 144]


def test_shrinking_averages_areas_as_opencv_does():
    expected = cv2.resize(image, (30, 20), interpolation=cv2.INTER_AREA)
    decoded, original = decode(encoded(".png"), (20, 30))
    assert np.abs(decoded.astype(int) - expected).max() <= 1
    assert original.tolist() == [96, 144]


def test_enlarging_is_bilinear_as_opencv_does_it():
    expected = cv2.resize(image, (200, 160), interpolation=cv2.INTER_LINEAR)
    decoded, _ = decode(encoded(".png"), (160, 200))
    assert np.abs(decoded.astype(int) - expected).max() <= 1


def test_a_png_named_jpg_is_decoded_and_a_grey_image_gets_three_channels():
    assert (decode(encoded(".png"), (96, 144))[0] == image).all()
    grey, _ = decode(encoded(".jpg", image[..., 0]), (96, 144))
    assert grey.shape == (96, 144, 3)
    assert np.ptp(grey, axis=-1).max() == 0


@pytest.mark.parametrize(
    "contents", [b"", b"text", encoded()[:2000], encoded(".png")[:900]]
)
def test_bytes_that_are_no_whole_image_are_an_error(contents):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(contents, (32, 48))


def test_the_graph_decodes_as_eager_code_does():
    contents = encoded()
    dataset = tf.data.Dataset.from_tensors(contents)
    (in_graph, _) = next(iter(dataset.map(lambda c: preprocessing.decode(c, (32, 48)))))
    assert (in_graph.numpy() == decode(contents, (32, 48))[0]).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_the_header_gives_the_size_without_decoding(suffix):
    contents = encoded(suffix)
    assert contents.startswith(preprocessing.SIGNATURES)
    assert preprocessing.header_size(contents).numpy().tolist() == [96, 144]


def test_a_bmp_stored_from_the_top_down_has_a_positive_height():
    contents = bytearray(encoded(".bmp"))
    contents[22:26] = (-96).to_bytes(4, "little", signed=True)
    assert preprocessing.header_size(bytes(contents)).numpy().tolist() == [96, 144]


def test_a_header_of_another_format_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="JPEG, PNG or BMP"):
        preprocessing.header_size(encoded(".webp"))


def test_preparing_scales_to_the_unit_interval_or_not_at_all():
    batch = image[None]
    unit = np.array(preprocessing.prepare(batch))
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, batch.astype(np.float32) / 255, rtol=1e-6)
    assert (np.array(preprocessing.prepare(batch, "raw")) == batch).all()


def test_preparing_scales_16_bits_to_the_unit_interval():
    batch = np.array([0, 65535, 13107], np.uint16).reshape(1, 1, 3, 1)
    unit = np.array(preprocessing.prepare(batch)).ravel()
    np.testing.assert_allclose(unit, [0, 1, 0.2], rtol=1e-6)


def test_statistics_standardize_each_band():
    batch = np.random.default_rng(0).normal((280, 5), (10, 0.1), (2, 30, 40, 2))
    batch = batch.astype(np.float32)
    means, deviations = batch.mean((0, 1, 2)), batch.std((0, 1, 2))
    found = preprocessing.prepare(batch, "statistics", (means, deviations))
    np.testing.assert_allclose(np.array(found).mean((0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(np.array(found).std((0, 1, 2)), 1, atol=1e-3)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_bands_are_resized_in_their_own_depth(dtype):
    values = np.random.default_rng(0).random((8, 12, 5)) * 60000
    values = values.astype(dtype)
    resized = preprocessing.resize(values, (4, 6))
    means = values.reshape(4, 2, 6, 2, 5).astype(float).mean((1, 3))
    assert resized.dtype == dtype
    np.testing.assert_allclose(resized, means, atol=0.51 if dtype == "uint16" else 0.01)
    assert preprocessing.resize(values, (4, 6), exact=True).dtype == dtype


def centroid(plane):
    """The centre of mass of a plane, in fractions of height and width."""
    plane = np.asarray(plane, float)
    height, width = plane.shape
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    total = plane.sum()
    y, x = rows @ plane.sum(1) / total, columns @ plane.sum(0) / total
    return np.array([y / height, x / width])


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize("records_size", [None, (160, 240)])
@pytest.mark.parametrize("seed", range(6))
def test_a_rectangle_near_the_edge_stays_where_it_is(seed, records_size, subsampling):
    generator = np.random.default_rng(seed)
    file_size = generator.integers(400, 1500, 2)
    size = tuple(generator.integers(32, 160, 2).tolist())
    image = np.zeros((*file_size, 3), np.uint8)
    top, left = (0.6 * file_size).astype(int)
    bottom, right = (0.95 * file_size).astype(int)
    image[top:bottom, left:right] = 255
    sampling = {"4:4:4": 0x111111, "4:2:0": 0x221111}[subsampling]
    options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    contents = cv2.imencode(".jpg", image, options)[1].tobytes()
    decoded, _ = preprocessing.decode_as_in_records(
        tf.constant(contents), size, records_size
    )
    shift = centroid(decoded[..., 1]) - centroid(image[..., 1])
    assert np.abs(shift * size).max() < 0.05
