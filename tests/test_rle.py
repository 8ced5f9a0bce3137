import lzma

import numpy as np
import pytest
from helpers import references
from hypothesis import given, settings
from hypothesis import strategies as st

from clouds import rle
from clouds.errors import InputError

masks = st.tuples(
    st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(0, 2**32)
).map(lambda drawn: np.random.default_rng(drawn[3]).random(drawn[:2]) < drawn[2])


@given(masks)
@settings(deadline=None, derandomize=True)
def test_painting_the_encoded_runs_restores_the_mask(mask):
    assert (rle.decode(rle.encode(mask), mask.shape) == mask).all()


@given(masks)
@settings(deadline=None, derandomize=True)
def test_encoding_equals_its_slow_twin(mask):
    assert rle.encode(mask) == references.encode(mask)


@pytest.mark.parametrize("size", [(1, 1), (40, 30), (101, 103), (110, 1000)])
@pytest.mark.parametrize("density", [0, 0.01, 0.5, 1])
def test_encoding_equals_its_slow_twin_for_numbers_of_many_digits(size, density):
    mask = np.random.default_rng(0).random(size) < density
    mask[-1, -1] = True
    turned = mask[::-1, ::-1].T
    for each in (mask, turned, np.asfortranarray(mask), mask.astype(float)):
        assert rle.encode(each) == references.encode(each)


@pytest.mark.parametrize("digits", range(1, 8))
def test_powers_of_ten_keep_all_their_zeros(digits):
    mask = np.zeros((1, 2 * 10**digits + 2), bool)
    mask[:, 10**digits - 1 : -3] = True
    assert rle.encode(mask) == f"{10**digits} {10**digits}"


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_mask_without_pixels_is_an_empty_text(size):
    assert rle.encode(np.zeros(size, bool)) == ""


def test_pixels_are_counted_down_the_columns_from_one():
    mask = np.array([[0, 1, 0], [1, 1, 0]], bool)
    assert rle.encode(mask) == "2 3"
    assert (rle.decode("2 3", (2, 3)) == mask).all()


def test_an_empty_mask_is_an_empty_text():
    assert rle.encode(np.zeros((3, 4))) == ""
    assert not rle.decode("", (3, 4)).any()


def test_a_full_mask_is_one_run():
    assert rle.encode(np.ones((3, 4))) == "1 12"


@pytest.mark.parametrize(
    ("text", "reason", "run"),
    [
        ("1", "has no length", 1),
        ("1 2 5", "has no length", 2),
        ("1 2 x 1", "not an integer", 2),
        ("1.5 2", "not an integer", 1),
        ("1_0 2", "not an integer", 1),
        ("0 2", "start must be 1", 1),
        ("-3 2", "start must be 1", 1),
        ("1 0", "length must be 1", 1),
        ("1 -1", "length must be 1", 1),
        ("1 1 12 2", "exceeds the 3x4 grid", 2),
        ("99999999999999999999 1", "exceeds the 3x4 grid", 1),
        ("9223372036854775807 9223372036854775807", "exceeds the 3x4 grid", 1),
        ("-99999999999999999999 1", "start must be 1", 1),
        ("5 2 1 2", "sorted", 2),
        ("1 3 3 2", "overlap", 2),
    ],
)
def test_a_malformed_text_is_rejected_with_its_row_and_run(text, reason, run):
    with pytest.raises(InputError, match=reason) as caught:
        rle.decode(text, (3, 4), where="train.csv, row 17")
    assert str(caught.value).startswith(f"train.csv, row 17, run {run}: ")


@pytest.mark.parametrize("field", [None, float("nan"), np.float32("nan")])
def test_an_empty_field_as_pandas_reads_it_is_an_empty_mask(field):
    assert not rle.decode(field, (3, 4)).any()


@pytest.mark.parametrize("text", [1.5, 7, b"1 2", ["1 2"]])
def test_a_value_that_is_not_text_is_rejected_with_its_row(text):
    with pytest.raises(InputError, match="train.csv, row 17: .* must be text"):
        rle.decode(text, (3, 4), where="train.csv, row 17")


@pytest.mark.parametrize("shape", [350, (350,), (350, 525, 3), None])
def test_a_shape_that_is_not_height_and_width_is_rejected(shape):
    with pytest.raises(InputError, match=r"must be \(height, width\). Received: "):
        rle.decode("1 2", shape)


@pytest.mark.parametrize(
    ("mask", "received"),
    [
        (np.full((3, 3), 0.2), "float64 with 0.2"),
        (np.full((3, 3), np.nan), "float64 with nan"),
        (np.uint8([[0, 255]]), "uint8 with 255"),
        (np.int64([[0, 1], [1, -1]]), "int64 with -1"),
        (np.ones((2, 3, 4), bool), r"shape \(2, 3, 4\)"),
        (np.ones(4, bool), r"shape \(4,\)"),
    ],
)
def test_an_array_that_is_not_a_mask_is_not_encoded(mask, received):
    with pytest.raises(InputError, match=f"A mask must be .* Received: {received}"):
        rle.encode(mask)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.float16])
def test_masks_of_zeros_and_ones_are_encoded_whatever_their_dtype(dtype):
    mask = np.random.default_rng(0).random((13, 17)) < 0.3
    assert rle.encode(mask.astype(dtype)) == rle.encode(mask)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7", "Run 1: the last run has no length. Received: 1 number, '7'."),
        ("1 2 5", "Run 2: the last run has no length. Received: 3 numbers, '1 2 5'."),
        ("1 1 " * 40 + "5", "Received: 81 numbers, '…" + " 1" * 19 + " 5'."),
        ("nan", "Run 1: not an integer. Received: 'nan'. Expected 'start length"),
        ("1 3 3 2", "Run 2: runs must be sorted and must not overlap. Received: '3 2'"),
        ("1 99", "Run 1: the run exceeds the 3x4 grid; check --grid. Received: '1 99'"),
    ],
)
def test_an_error_shows_the_text_and_names_the_grid_only_for_its_end(text, message):
    with pytest.raises(InputError) as caught:
        rle.decode(text, (3, 4))
    assert message in str(caught.value)
    assert ("grid" in str(caught.value)) == ("grid" in message)


def test_runs_that_touch_are_allowed():
    assert rle.decode("1 2 3 1", (3, 4)).sum() == 3


@pytest.mark.parametrize("size", [(5, 7), (14, 21), (1, 1), (7, 21), (20, 30), (3, 40)])
def test_resampling_equals_painting_and_then_sampling(size):
    grid = (14, 21)
    rows, columns = (
        np.floor((np.arange(target) + 0.5) * source / target).astype(int)
        for source, target in zip(grid, size, strict=True)
    )
    for seed in range(20):
        masks = np.random.default_rng(seed).random((4, *grid)) < 0.5
        masks[seed % 5 : seed % 5 + 1] = seed % 2
        runs = [rle.parse(rle.encode(mask), grid) for mask in masks]
        (sampled,) = rle.resample(runs, grid, [size])
        expected = masks[:, rows][:, :, columns]
        assert sampled.dtype == np.uint8
        for label, mask in enumerate(expected):
            assert (sampled >> label & 1 == mask).all()


def test_resampling_equals_opencv_on_real_masks(real_data):
    cv2 = pytest.importorskip("cv2")
    with lzma.open(real_data / "train.csv.xz", "rt") as file:
        texts = [
            line.strip().split(",")[1] for _, line in zip(range(80), file, strict=False)
        ][1:]
    for text in filter(None, texts):
        runs = rle.parse(text, (1400, 2100))
        full = rle.paint(runs, (1400, 2100)).astype(np.uint8)
        small = cv2.resize(full, (525, 350), interpolation=cv2.INTER_NEAREST_EXACT)
        (sampled,) = rle.resample([runs], (1400, 2100), [(350, 525)])
        assert (sampled == small).all()


@pytest.mark.parametrize("text", ["-1", "nan", "None", "NA", "1 0"])
def test_a_text_that_others_write_for_an_empty_mask_is_explained(text):
    with pytest.raises(InputError, match="An empty mask is an empty field"):
        rle.parse(text, (3, 4))


def test_a_malformed_text_that_a_spreadsheet_cut_is_explained():
    whole = " ".join(f"{start} 1" for start in range(1, 12_000, 2))
    assert len(whole) > rle.SPREADSHEET_CELL
    with pytest.raises(InputError, match="32,767 characters, at which spreadsheets"):
        rle.parse(whole[: rle.SPREADSHEET_CELL], (3, 4))
    with pytest.raises(InputError) as error:
        rle.parse(whole[: rle.SPREADSHEET_CELL - 1], (3, 4))
    assert "spreadsheet" not in str(error.value)


@pytest.mark.parametrize("text", [" ", "\t", " \n "])
def test_blanks_are_an_empty_mask(text):
    assert rle.parse(text, (3, 4)).shape == (0, 2)


def test_thousands_of_digits_are_an_error_of_the_text():
    for text in ("9" * 5000 + " 1", "-" + "9" * 5000 + " 1"):
        with pytest.raises(InputError):
            rle.parse(text, (3, 4))


def relative(mask):
    """Codes of a mask as in SIIM-ACR, pixel by pixel."""
    numbers, pixels, since = [], mask.T.reshape(-1).tolist(), 0
    k = 0
    while k < len(pixels):
        if pixels[k]:
            length = 0
            while k < len(pixels) and pixels[k]:
                length, k = length + 1, k + 1
            numbers += [since, length]
            since = 0
        else:
            since, k = since + 1, k + 1
    return " ".join(map(str, numbers))


def test_starts_that_are_relative_to_the_previous_run_become_absolute():
    for seed in range(5):
        mask = np.random.default_rng(seed).random((7, 9)) > 0.4
        mask[0, 0] = seed % 2
        text = rle.from_relative(relative(mask))
        runs = rle.parse(text, mask.shape, base=0)
        assert (rle.paint(runs, mask.shape) == mask).all()
    huge = rle.from_relative(f"1 {2**62} {2**62} {2**62} 5 5")
    with pytest.raises(InputError, match="exceeds"):
        rle.parse(huge, (7, 9))
    assert rle.from_relative("") == ""
    assert rle.from_relative("1 2 3") == "1 2 3"
    with pytest.raises(InputError, match="row 5"):
        rle.from_relative("1 x", where="a.csv, row 5")


@pytest.mark.parametrize("seed", range(20))
def test_united_runs_have_the_same_pixels_and_do_not_touch(seed):
    random = np.random.default_rng(seed)
    count = seed % 9
    starts, lengths = random.integers(1, 60, count), random.integers(1, 12, count)
    given = np.stack([starts, lengths], axis=1)
    expected = {p for start, length in given for p in range(start, start + length)}
    united = rle.unite(given)
    found = [p for start, length in united for p in range(start, start + length)]
    assert found == sorted(expected)
    assert (united[1:, 0] > united[:-1].sum(axis=1)).all()


def test_planes_have_a_bit_for_each_label():
    found = [rle.plane_dtype(labels).name for labels in (1, 8, 9, 16, 17, 32)]
    assert found == ["uint8", "uint8", "uint16", "uint16", "uint32", "uint32"]
