import io

import numpy as np
import pytest
from PIL import Image

from clouds.data.images import formats, image_headers
from clouds.errors import InputError

picture = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
KINDS = ["jpeg", "png", "bmp", "webp", "gif", "tiff"]


def saved(kind, **options):
    Image.fromarray(picture).save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_has_kind_and_size(kind):
    header = image_headers.read(saved(kind))
    assert (header.kind, header.size) == (kind, (9, 14))


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize(("tag", "read"), [(1, 1), (6, 6), (8, 8), (0, 1), (9, 1)])
def test_orientation_is_read_in_all_formats(kind, tag, read):
    exif = Image.Exif()
    exif[274] = tag
    assert image_headers.read(saved(kind, exif=exif)).orientation == read


@pytest.mark.parametrize("contents", [b"", b"text", b"II*\0 no", b"RIFF", b"BM\0"])
def test_other_bytes_have_no_header(contents):
    assert image_headers.read(contents) is None


def test_damaged_files_are_converted_left_or_refused():
    files, draw = list(map(saved, KINDS)), np.random.default_rng(1)
    for k in range(1500):
        contents = bytearray(files[k % len(files)])
        for place in draw.integers(0, min(len(contents), 300), 3):
            contents[place] = draw.integers(256)
        length = len(contents) if k % 3 else draw.integers(len(contents))
        try:
            formats.convert(bytes(contents[:length]), "")
        except InputError as error:
            assert str(error)
