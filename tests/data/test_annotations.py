import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from clouds import rle, schema
from clouds.data import annotations, scenes
from clouds.errors import InputError
from clouds.runtime import archives

HEADER = "Image_Label,EncodedPixels\n"
ROWS = [f"a.jpg_{label},1 2\n" for label in schema.CLOUDS.labels]


def write(tmp_path, *rows, header=HEADER):
    path = tmp_path / "train.csv"
    path.write_text(header + "".join(rows))
    return str(path)


def test_texts_are_in_the_order_of_the_labels(tmp_path):
    rows = [
        f"b_1.png_{label},{n} 1\n" for n, label in enumerate(schema.CLOUDS.labels, 1)
    ]
    read = annotations.read(write(tmp_path, *ROWS, *reversed(rows)))
    assert read.images == ["a.jpg", "b_1.png"]
    assert read.texts[1].tolist() == ["1 1", "2 1", "3 1", "4 1"]
    assert read.rows[1].tolist() == [9, 8, 7, 6]


def test_labels_are_those_of_the_csv_in_the_order_in_which_they_appear(tmp_path):
    rows = [f"{image}_{label},\n" for image in "ab" for label in ("ship", "buoy")]
    read = annotations.read(write(tmp_path, *rows))
    assert read.labels == ("ship", "buoy")
    assert read.texts.shape == (2, 2)


def test_labels_with_underscores_follow_the_suffix_of_the_image(tmp_path):
    rows = [f"a_1.jpg_{label},1 2\n" for label in ("big_ship", "ship")]
    for labels in (None, ("ship", "big_ship")):
        read = annotations.read(write(tmp_path, *rows), labels)
        assert read.images == ["a_1.jpg"]
        assert read.labels == (labels or ("big_ship", "ship"))


def test_the_competitions_labels_keep_their_order(tmp_path):
    read = annotations.read(write(tmp_path, *reversed(ROWS)))
    assert read.labels == schema.CLOUDS.labels


def test_an_empty_field_is_an_absent_label(tmp_path):
    read = annotations.read(write(tmp_path, *ROWS[:3], "a.jpg_Sugar,\n"))
    assert read.present.tolist() == [[True, True, True, False]]


def test_an_image_may_be_called_nan(tmp_path):
    rows = [f"nan_{label},\n" for label in schema.CLOUDS.labels]
    assert annotations.read(write(tmp_path, *rows)).images == ["nan"]


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip"])
def test_a_compressed_csv_is_read_as_it_is(tmp_path, ending):
    path = tmp_path / f"train.csv.{ending}"
    pd.read_csv(write(tmp_path, *ROWS), dtype=str).to_csv(path, index=False)
    assert annotations.read(str(path)).images == ["a.jpg"]


def test_a_broken_text_is_named_by_row_and_run(tmp_path):
    read = annotations.read(
        write(tmp_path, *ROWS[:2], "a.jpg_Gravel,1 2 2 2\n", ROWS[3])
    )
    with pytest.raises(InputError, match=r"train.csv, row 4, run 2"):
        read.runs(0, (3, 4))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS[:3], "a.jpg_Sugr,\n"], "train.csv, row 5: unknown label 'Sugr'"),
        ([*ROWS[:3], "a.jpg\n"], "row 5"),
        ([*ROWS, ROWS[1]], "row 6: duplicate of row 3, a.jpg_Flower"),
        (ROWS[:3], "no row for a.jpg_Sugar"),
        ([], "has no rows"),
        (
            ["\n", *ROWS[:2], "\n", "a.jpg_Gravl,\n", ROWS[3]],
            "row 6: unknown label 'Gravl'",
        ),
        (["\n", *ROWS, "\n", ROWS[1]], "row 8: duplicate of row 4"),
        ([*ROWS[:3], ",1 2\n", ROWS[3]], "row 5"),
        (["\n", "\n"], "has no rows"),
    ],
)
def test_invalid_rows_are_rejected(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        annotations.read(write(tmp_path, *rows))


def test_other_columns_are_rejected(tmp_path):
    with pytest.raises(
        InputError, match="row 1: the columns must be .* Received: 'id,mask'"
    ):
        annotations.read(write(tmp_path, "a,b\n", header="id,mask\n"))


def test_a_file_that_is_not_a_csv_is_rejected(tmp_path):
    path = tmp_path / "train.csv.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(InputError, match="train.csv.gz is damaged, or not a .gz file"):
        annotations.read(str(path))
    empty = tmp_path / "empty.csv"
    empty.write_bytes(b"")
    with pytest.raises(InputError, match="empty.csv is empty"):
        annotations.read(str(empty))
    binary = tmp_path / "binary.csv"
    binary.write_bytes(bytes(range(256)) * 9)
    with pytest.raises(InputError):
        annotations.read(str(binary))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_text_of_another_encoding_is_rejected(tmp_path, encoding):
    path = tmp_path / "train.csv"
    path.write_text(HEADER + "".join(ROWS) + "ä.jpg_Fish,\n", encoding)
    with pytest.raises(InputError, match="(is not UTF-8|are not text).*encoding utf-8"):
        annotations.read(str(path))


@pytest.mark.parametrize("blank", ["\n", "  \n", "\r\n", ",\n"])
def test_blank_lines_are_skipped(tmp_path, blank):
    read = annotations.read(
        write(tmp_path, blank, *ROWS[:2], blank, *ROWS[2:], blank, blank)
    )
    assert read.images == ["a.jpg"]
    assert read.texts.tolist() == [["1 2"] * 4]
    assert read.rows.tolist() == [[3, 4, 6, 7]]


def test_a_missing_csv_is_rejected(tmp_path):
    with pytest.raises(InputError, match="none.csv' does not exist"):
        annotations.read(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="must hold masks named"):
        annotations.read(str(tmp_path))


def test_the_real_csv_has_the_counts_of_its_readme(real_data):
    read = annotations.read(str(real_data / "train.csv.xz"))
    assert read.texts.size == 12852
    assert len(read.images) == 3213
    assert read.present.sum() == 6853


def test_a_csv_is_read_from_any_file_system_of_tensorflow(tmp_path):
    tf.io.gfile.copy(write(tmp_path, *ROWS), "ram://table/train.csv")
    assert annotations.read("ram://table/train.csv").images == ["a.jpg"]


def masked(tmp_path, *masks):
    """The table of a csv with an image for each mask, which its first label has."""
    rows = [
        f"{image}.png_{label},{rle.encode(mask) if label == 'Fish' else ''}\n"
        for image, mask in enumerate(masks)
        for label in schema.CLOUDS.labels
    ]
    return annotations.read(write(tmp_path, *rows))


def drawn(seed, size):
    """The masks of a scene that are not empty."""
    masks = scenes.scene(seed, size)[1]
    return [mask for mask in np.moveaxis(masks, -1, 0) if mask.any()]


@pytest.mark.parametrize("size", [(700, 1050), (350, 525), (320, 480)])
def test_runs_of_another_grid_are_warned_of(tmp_path, size):
    read = masked(tmp_path, *(mask for seed in range(3) for mask in drawn(seed, size)))
    warning = annotations.find_warning(read, schema.GRID)
    assert "not on a grid of 1400x2100" in warning
    assert f"train.csv: most runs start about {size[0]} pixels" in warning


def test_runs_along_the_rows_are_warned_of(tmp_path):
    read = masked(tmp_path, *(mask.T for mask in drawn(0, (350, 525))))
    assert "in columns of 525 pixels" in annotations.find_warning(read, (350, 525))


def test_a_handful_of_masks_causes_no_warning(tmp_path):
    size = (350, 525)
    stripes, two, low, high = np.zeros((4, *size), bool)
    stripes[::10] = two[100:200] = two[250:320] = low[300:, 9:40] = high[:, 9:40] = True
    noise = np.random.default_rng(0).random(size) < 0.5
    speck = np.zeros(size, bool)
    speck[3, 4] = True
    drawn_masks = [mask for seed in range(8) for mask in drawn(seed, size)]
    for mask in (*drawn_masks, stripes, two, low, high, noise, speck, speck & False):
        assert annotations.find_warning(masked(tmp_path, mask), size) is None


def test_the_real_csv_is_warned_of_on_a_wrong_grid_only(real_data):
    read = annotations.read(str(real_data / "train.csv.xz"))
    assert annotations.find_warning(read, schema.GRID) is None
    for image in range(40):
        assert annotations.find_warning(read.one(image), schema.GRID) is None
    for grid in ((2100, 1400), (1410, 2115), (2800, 4200)):
        assert "columns of 1400 pixels" in annotations.find_warning(read, grid)


@pytest.mark.parametrize("text", ["1 1", "5 100 2000 7"])
def test_a_sample_submission_in_place_of_masks_is_warned_of(text, tmp_path):
    names = [f"{image}.jpg_{label}" for image in "ab" for label in schema.CLOUDS.labels]
    read = annotations.read(write(tmp_path, *(f"{name},{text}\n" for name in names)))
    assert "For images without masks use --unlabelled" in annotations.find_warning(
        read, schema.GRID
    )
    drawn = [f"{name},{k} 1\n" for k, name in enumerate(names, 1)]
    assert (
        annotations.find_warning(annotations.read(write(tmp_path, *drawn)), schema.GRID)
        is None
    )
    empty = [f"{name},\n" for name in names]
    assert (
        annotations.find_warning(annotations.read(write(tmp_path, *empty)), schema.GRID)
        is None
    )


def test_empty_fields_beyond_the_header_are_ignored(tmp_path):
    rows = [row.replace("\n", ",\n") for row in ROWS]
    assert annotations.read(write(tmp_path, *rows)).texts.tolist() == [["1 2"] * 4]
    rows[2] = "a.jpg_Gravel,1 2,3\n"
    with pytest.raises(InputError, match="row 4: 3 fields instead of 2"):
        annotations.read(write(tmp_path, *rows))


def test_blanks_around_the_names_of_columns_are_ignored(tmp_path):
    rows = [row.replace(",", ", ") for row in ROWS]
    header = " Image_Label, EncodedPixels \n"
    assert annotations.read(write(tmp_path, *rows, header=header)).images == ["a.jpg"]


CLASSES = "ImageId,ClassId,EncodedPixels\n"


def test_rows_of_one_image_and_class_are_united(tmp_path):
    rows = ["a,10,1 2\n", "a,2,9 3\n", "a,10,2 4 9 1\n", "b,10,-1\n", "c,,\n"]
    read = annotations.read(write(tmp_path, *rows, header=CLASSES))
    # Numbers are in order.
    assert read.labels == ("2", "10") and read.images == ["a", "b", "c"]
    assert read.texts.tolist() == [["9 3", "1 5 9 1"], ["", ""], ["", ""]]


def test_runs_along_the_rows_from_0_are_turned(tmp_path):
    source = annotations.Source(order="row", base=0, grid=(3, 4))
    header = "ImageId,EncodedPixels\n"
    path = write(tmp_path, "a,1 2 4 1\n", "a,11 1\n", header=header)
    read = annotations.read(path, ("ship",), source)
    mask = rle.decode(read.texts[0, 0], (3, 4))
    expected = np.zeros(12, bool)
    expected[[1, 2, 4, 11]] = True
    np.testing.assert_array_equal(mask, expected.reshape(3, 4))
    late = write(tmp_path, "a,1 2\n", "a,11 2\n", header=header)
    with pytest.raises(InputError, match="row 3, run 1: the run exceeds"):
        annotations.read(late, ("ship",), source)
    early = write(tmp_path, "a,-3 2\n", header=header)
    with pytest.raises(InputError, match="a start must be 0 or more. Received: '-3 2'"):
        annotations.read(early, ("ship",), source)


def test_an_unknown_class_is_refused(tmp_path):
    path = write(tmp_path, "a,1,1 2\n", "a,5,1 2\n", header=CLASSES)
    with pytest.raises(InputError, match="row 3: unknown label '5'. Expected one of 1"):
        annotations.read(path, ("1", "2"))


def test_missing_rows_may_be_masks_without_pixels(tmp_path):
    path = write(tmp_path, *ROWS[:2])
    read = annotations.read(path, None, annotations.Source(complete=False))
    assert read.texts.tolist() == [["1 2", "1 2", "", ""]]


def test_annotations_of_coco_are_sampled_on_the_grid(tmp_path):
    path = tmp_path / "annotations.json"
    images = [{"id": 1, "file_name": "a.jpg", "height": 8, "width": 12}]
    square = [[0, 0, 6, 0, 6, 4, 0, 4]]
    masks = [{"image_id": 1, "category_id": 9, "segmentation": square}]
    categories = [{"id": 9, "name": "ship"}, {"id": 2, "name": "buoy"}]
    fields = {"images": images, "categories": categories, "annotations": masks}
    path.write_text(json.dumps(fields))
    source = annotations.Source(grid=(4, 6))
    read = annotations.read(str(path), None, source)
    assert read.labels == ("ship", "buoy") and read.grid == (4, 6)
    assert read.texts.tolist() == [["1 2 5 2 9 2", ""]]


def test_the_grid_of_other_labels_is_the_size_of_the_images(tmp_path):
    source = annotations.Source(grid=None, image_size=lambda: (7, 9))
    assert annotations.read(write(tmp_path, *ROWS), None, source).grid == schema.GRID
    path = write(tmp_path, "a,1,1 2\n", header=CLASSES)
    assert annotations.read(path, None, source).grid == (7, 9)


def test_two_rows_of_a_label_are_to_be_joined(tmp_path):
    with pytest.raises(InputError, match="row 6: duplicate of row 2.* join their runs"):
        annotations.read(write(tmp_path, *ROWS, "a.jpg_Fish,41 5\n"))


def test_all_missing_rows_are_counted(tmp_path):
    rows = [
        f"{image}.jpg_{label},1 2\n"
        for image in range(5)
        for label in ("Fish", "Gravel")
    ]
    with pytest.raises(InputError, match="no row for 0.jpg_Flower.* 10 such errors"):
        annotations.read(write(tmp_path, *rows))


@pytest.mark.parametrize("length", [32_766, 32_767, 32_768])
def test_a_field_that_a_spreadsheet_has_cut_is_warned_of(tmp_path, length):
    text = "1 2 4 2 " + "7 1".rjust(length - 8)
    table = annotations.read(write(tmp_path, f"a.jpg_Fish,{text}\n", *ROWS[1:]))
    warning = annotations.find_warning(table, (3, 4))
    assert (warning is not None) == (length == 32_767)
    if warning:
        assert "train.csv, row 2: the field has exactly 32,767 characters" in warning


def test_a_csv_within_a_zip_is_named_by_its_path(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.ZIP", "w") as archive:
        archive.writestr("a/train.csv", HEADER + "".join(ROWS))
        archive.writestr("a/b.jpg", b"")
    read = annotations.read(f"{tmp_path}/data.ZIP/a/train.csv")
    assert read.images == ["a.jpg"]
    with pytest.raises(InputError, match="the zip has no test.csv"):
        annotations.read(f"{tmp_path}/data.ZIP/test.csv")
    with pytest.raises(InputError, match="holds 2 files"):
        annotations.read(f"{tmp_path}/data.ZIP")


@pytest.mark.parametrize("suffix", ["zip", "gz", "bz2", "xz"])
def test_damaged_compression_is_one_line(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"train.csv.{suffix}"
    pd.read_csv(write(tmp_path, *ROWS), dtype=str).to_csv(path, index=False)
    contents = path.read_bytes()
    monkeypatch.setattr(archives, "_MOST_BYTES", 20)
    with pytest.raises(InputError, match="more than 20 bytes"):
        annotations.read(str(path))
    monkeypatch.undo()
    draw = np.random.default_rng(0)
    for k in range(300):
        damaged = bytearray(contents)
        damaged[draw.integers(len(damaged))] ^= 1 << k % 8
        cut = len(damaged) if k % 2 else draw.integers(len(damaged))
        path.write_bytes(damaged[:cut])
        try:
            annotations.read(str(path))
        except InputError as error:
            assert "\n" not in str(error)


def test_relative_starts_of_a_csv_are_read(tmp_path):
    path = tmp_path / "siim.csv"
    path.write_text("ImageId, EncodedPixels\na, 2 3 4 1\nb, -1\n")
    source = annotations.Source(base=0, starts="relative", grid=(4, 5))
    table = annotations.read(str(path), ("pneumothorax",), source)
    # 2 3 covers pixels 2 to 4, and 4 1 the pixel 4 after these: 9.
    assert table.texts.tolist() == [["3 3 10 1"], [""]]
