"""Each kind of file against an independent decoder: Pillow or tifffile."""

import io
import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tifffile
from PIL import Image, ImageOps

from clouds.data.images import formats, image_files, preprocessing

SIZE = 9, 14
random = np.random.default_rng(0)
smooth = cv2.resize(random.integers(0, 256, (3, 4, 3), np.uint8), SIZE[::-1])
rgb = random.integers(0, 256, (*SIZE, 3), np.uint8)
alpha = random.choice(np.array([0, 0, 100, 255], np.uint8), SIZE)
rgba = np.dstack([rgb, alpha])
EXIF = {turn: Image.Exif() for turn in range(1, 9)}
for turn, exif in EXIF.items():
    exif[274] = turn


def decode(contents, path):
    """Decodes a file as predict and make_tfrecords do."""
    path.write_bytes(contents)
    contents = image_files.read(tf.constant(str(path)))
    shape = preprocessing.decode(contents, (1, 1))[1].numpy()
    return preprocessing.decode(contents, tuple(shape), exact=True)[0].numpy()


def saved(image, kind, **options):
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def tiff(pixels, **options):
    tifffile.imwrite(file := io.BytesIO(), pixels, **options)
    return file.getvalue()


def on_black(pixels):
    colours, opacity = pixels[..., :3].astype(int), pixels[..., 3:].astype(int)
    return (colours * opacity + 127) // 255


def expected(contents):
    """Decodes with Pillow: upright, alpha composited on black."""
    with Image.open(io.BytesIO(contents)) as image:
        return on_black(np.asarray(ImageOps.exif_transpose(image).convert("RGBA")))


def with_key():
    image = Image.fromarray(rgb)
    return saved(image, "png", transparency=tuple(map(int, rgb[2, 3])))


def bmp(bits, rows, *, palette=b"", compression=0, core=False, masks=b""):
    """Writes a BMP; rows are bytes from the bottom up, already padded."""
    height, width = SIZE
    if core:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        length = 40 if len(masks) < 16 else 40 + len(masks)
        fields = 1, bits, compression, len(rows), 0, 0, len(palette) // 4, 0
        header = struct.pack("<IiiHHIIiiII", length, width, height, *fields)
    start = 14 + len(header) + len(masks) + len(palette)
    file = struct.pack("<2sIHHI", b"BM", start + len(rows), 0, 0, start)
    return file + header + masks + palette + rows


def packed(values, bits):
    """Packs numbers of a row into bytes, padded to four."""
    text = "".join(f"{value:0{bits}b}" for value in values)
    text = text.ljust(-(-len(text) // 32) * 32, "0")
    return bytes(int(text[k : k + 8], 2) for k in range(0, len(text), 8))


def bmps():
    indices = random.integers(0, 16, SIZE)
    colours = random.integers(0, 256, (256, 3)).tolist()
    four = b"".join(bytes([*colour, 0]) for colour in colours)
    three = b"".join(bytes(colour) for colour in colours)
    rows = b"".join(packed(row, 4) for row in indices)
    yield "4 bits", bmp(4, rows, palette=four[:64])
    yield "OS/2, 4 bits", bmp(4, rows, palette=three[:48], core=True)
    rows = b"".join(packed(row, 8) for row in indices)
    yield "OS/2, 8 bits", bmp(8, rows, palette=three, core=True)
    rows = b"".join(packed(row % 2, 1) for row in indices)
    yield "1 bit, coloured", bmp(1, rows, palette=four[:8])
    rows = b"".join(bytes(row) + b"\0" * (-len(row) % 4) for row in rgb.reshape(9, -1))
    yield "OS/2, 24 bits", bmp(24, rows, core=True)
    runs = b"".join(bytes([14, row[0], 0, 0]) for row in indices.astype(np.uint8))
    yield "run lengths", bmp(8, runs + b"\0\1", palette=four, compression=1)
    words = random.integers(0, 1 << 15, SIZE).astype("<u2")
    yield "16 bits", bmp(16, words.tobytes())
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    yield "16 bits, masks", bmp(16, words.tobytes(), compression=3, masks=masks)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    pixels = rgba[..., [2, 1, 0, 3]].tobytes()
    yield "alpha mask", bmp(32, pixels, compression=3, masks=masks + bytes(68))
    yield "32 bits", bmp(32, pixels)


def kinds():
    image = Image.fromarray(rgb)
    for mode in ("RGB", "L", "P", "1", "RGBA"):
        yield f"bmp {mode}", saved(image.convert(mode), "bmp")
    for name, contents in bmps():
        yield f"bmp {name}", contents
    for mode in ("RGB", "L", "P", "1"):
        yield f"png {mode}", saved(image.convert(mode), "png")
    yield "png RGBA", saved(Image.fromarray(rgba), "png")
    yield "png LA", saved(Image.fromarray(rgba).convert("LA"), "png")
    yield "png P alpha", saved(image.convert("P"), "png", transparency=b"\0\x80\xff")
    yield "png P key", saved(image.convert("P"), "png", transparency=3)
    yield "png key", with_key()
    yield "png L key", saved(image.convert("L"), "png", transparency=int(rgb[0, 0, 0]))
    for turn, exif in EXIF.items():
        yield f"png turned {turn}", saved(image, "png", exif=exif)
        yield f"webp turned {turn}", saved(image, "webp", lossless=True, exif=exif)
        yield f"tiff turned {turn}", tiff(rgb, extratags=[(274, "H", 1, turn, True)])
    yield "png RGBA turned", saved(Image.fromarray(rgba), "png", exif=EXIF[6])
    yield "webp", saved(image, "webp", quality=90)
    yield "webp alpha", saved(Image.fromarray(rgba), "webp", lossless=True, exact=True)
    frames = [Image.fromarray(rgb[::-1])]
    animated = {"save_all": True, "append_images": frames}
    yield "webp animated", saved(image, "webp", lossless=True, **animated)
    yield "gif", saved(image.convert("P"), "gif")
    yield "gif transparent", saved(image.convert("P"), "gif", transparency=3)
    yield "gif animated", saved(image.convert("P"), "gif", **animated)


@pytest.mark.parametrize("name", dict(kinds()))
def test_a_file_becomes_what_pillow_makes_of_it(name, tmp_path):
    contents = dict(kinds())[name]
    decoded = decode(contents, tmp_path / "a.jpg")
    assert np.abs(decoded - expected(contents)).max() <= 1


@pytest.mark.parametrize("turn", EXIF)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_turned_by_its_tag(mode, turn, tmp_path):
    contents = saved(Image.fromarray(smooth).convert(mode), "jpeg", exif=EXIF[turn])
    assert np.abs(decode(contents, tmp_path / "a") - expected(contents)).max() <= 4


def tiffs():
    wide = (rgb.astype(np.uint16) << 8) + rgb[::-1]
    yield "rgb", tiff(rgb), rgb
    yield "big", tiff(rgb, bigtiff=True), rgb
    yield "big-endian", tiff(rgb, byteorder=">"), rgb
    yield "big, big-endian", tiff(rgb, bigtiff=True, byteorder=">"), rgb
    yield "deflate", tiff(rgb, compression="zlib", predictor=2), rgb
    yield "tiles", tiff(rgb, tile=(16, 16)), rgb
    planes = np.moveaxis(rgb, 2, 0)
    options = {"photometric": "rgb", "planarconfig": "separate"}
    yield "planes", tiff(planes, **options), rgb
    yield "16 bits", tiff(wide, photometric="rgb"), wide >> 8
    yield "16-bit grey", tiff(wide[..., 0]), grey(wide[..., 0] >> 8)
    yield "grey", tiff(rgb[..., 0]), grey(rgb[..., 0])
    yield (
        "bilevel",
        tiff(rgb[..., 0] > 99, photometric="minisblack"),
        grey(255 * (rgb[..., 0] > 99)),
    )
    inverted = {"photometric": "miniswhite"}
    yield "inverted", tiff(rgb[..., 0], **inverted), grey(255 - rgb[..., 0])
    other = 255 - (wide[..., 0] >> 8)
    yield "inverted, 16 bits", tiff(wide[..., 0], **inverted), grey(other)
    colours = random.integers(0, 256, (3, 256)).astype(np.uint16)
    mapped = tiff(rgb[..., 0], photometric="palette", colormap=colours * 257)
    yield "palette", mapped, colours.T[rgb[..., 0]]
    for name, pixels in (("rgba", rgba), ("16-bit rgba", rgba.astype(np.uint16) * 257)):
        straight = tiff(pixels, photometric="rgb", extrasamples=["unassalpha"])
        yield f"{name}, alpha", straight, on_black(rgba)
        for extra in ("assocalpha", "unspecified"):
            contents = tiff(pixels, photometric="rgb", extrasamples=[extra])
            yield f"{name}, {extra}", contents, rgb
    options = {"photometric": "minisblack", "extrasamples": ["unassalpha"]}
    contents = tiff(rgba[..., [0, 3]], planarconfig="contig", **options)
    yield "grey and alpha", contents, on_black(rgba[..., [0, 0, 0, 3]])
    for turn in range(1, 9):
        tag = [(274, "H", 1, turn, True)]
        upright = np.asarray(ImageOps.exif_transpose(turned(turn)))
        yield (
            f"16 bits, turned {turn}",
            tiff(wide, photometric="rgb", extratags=tag),
            upright,
        )
        pixels = formats.turn(on_black(rgba), turn)
        options = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
        yield f"alpha, turned {turn}", tiff(rgba, extratags=tag, **options), pixels
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(rgb)
        writer.write(rgb[::2, ::2], subfiletype=1)
    yield "overview", file.getvalue(), rgb


def turned(turn):
    image = Image.fromarray(rgb)
    image.getexif()[274] = turn
    return image


def grey(plane):
    return np.stack([plane] * 3, axis=2)


@pytest.mark.parametrize("name", [name for name, _, _ in tiffs()])
def test_a_tiff_has_the_pixels_that_were_written(name, tmp_path):
    contents, pixels = {name: rest for name, *rest in tiffs()}[name]
    decoded = decode(contents, tmp_path / "a.tif")
    assert decoded.shape == pixels.shape
    assert np.abs(decoded.astype(int) - pixels).max() <= 1


def refused():
    wide = rgb.astype(np.uint16) << 8
    pages = np.stack([rgb[..., 0]] * 3)
    yield (
        "five bands",
        tiff(np.dstack([rgb, rgb[..., :2]]), photometric="rgb"),
        "5 bands",
    )
    yield (
        "floats",
        tiff(rgb.astype(np.float32), photometric="rgb"),
        "samples are float, of 32 bits",
    )
    yield "signed", tiff(rgb[..., 0].astype(np.int16)), "samples are signed"
    yield "32 bits", tiff(rgb[..., 0].astype(np.uint32)), "unsigned, of 32 bits"
    yield "pages", tiff(pages, photometric="minisblack"), "has 3 pages"
    options = {"photometric": "rgb", "planarconfig": "separate"}
    yield "planes", tiff(np.moveaxis(wide, 2, 0), **options), "stored separately"
    yield "cut", tiff(rgb)[:300], "damaged TIFF"
    yield "cut WebP", saved(Image.fromarray(rgb), "webp")[:60], "damaged WEBP"
    yield "cut GIF", saved(Image.fromarray(rgb).convert("P"), "gif")[:90], "damaged GIF"


@pytest.mark.parametrize("name", [name for name, _, _ in refused()])
def test_a_file_that_would_be_guessed_at_is_refused_with_its_reason(
    name, tmp_path, capfd
):
    contents, reason = {name: rest for name, *rest in refused()}[name]
    with pytest.raises(tf.errors.OpError):
        decode(contents, tmp_path / "a.tif")
    assert reason in str(image_files.undecodable(str(tmp_path / "a.tif")))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["tiff", "png"])
def test_twelve_bits_in_sixteen_are_warned_of_once(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(formats, "_warned", [])
    dark = rgb[..., 0].astype(np.uint16) << 4
    dark[0, 0] = 4080
    contents = cv2.imencode(f".{kind}", dark)[1].tobytes()
    for name in ("a", "b"):
        assert (decode(contents, tmp_path / name) == grey(dark >> 8)).all()
    warning = capsys.readouterr().err
    assert warning.count("16-bit values of 4080 at most") == 1
    decode(cv2.imencode(f".{kind}", dark * 0)[1].tobytes(), tmp_path / "black")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "webp", "gif", "tiff"])
def test_too_many_pixels_are_refused_before_they_are_decoded(
    kind, tmp_path, monkeypatch
):
    monkeypatch.setattr(formats, "MOST_PIXELS", 9 * 14 - 1)
    monkeypatch.setattr(cv2, "imdecode", None)
    image = Image.fromarray(rgb).convert("P" if kind == "gif" else "RGB")
    (tmp_path / "a").write_bytes(saved(image, kind))
    with pytest.raises(tf.errors.OpError, match="14 x 9 pixels; the maximum is 125"):
        image_files.read(str(tmp_path / "a"))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_an_upright_jpeg_and_png_keep_their_bytes(mode):
    image = Image.fromarray(rgb).convert(mode)
    for kind in ("jpeg", "png")[: 1 if mode == "CMYK" else 2]:
        contents = saved(image, kind, exif=EXIF[1])
        assert formats.convert(contents, "") is contents
