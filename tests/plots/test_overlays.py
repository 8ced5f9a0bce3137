import cv2

from clouds import schema
from clouds.data import scenes
from clouds.plots.overlays import draw_overlays


def drawn(count):
    return zip(*(scenes.scene(seed, (96, 144)) for seed in range(count)), strict=True)


def test_masks_are_outlined_in_the_colours_of_their_labels(tmp_path):
    images, masks = drawn(5)
    draw_overlays(images, masks, tmp_path / "scenes.png")
    picture = cv2.imread(str(tmp_path / "scenes.png"))[..., ::-1]
    colours = set(map(tuple, picture.reshape(-1, 3).tolist()))
    for label, colour in enumerate(schema.CLOUDS.colours):
        wanted = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert any(mask[..., label].any() for mask in masks)
        assert wanted in colours


def test_titles_are_never_parsed_as_formulas(tmp_path):
    images, masks = drawn(1)
    titles = (r"$\frac{.jpg",)
    draw_overlays(images, masks, tmp_path / "scenes.png", titles=titles)
    assert (tmp_path / "scenes.png").is_file()


def test_images_may_have_titles(tmp_path):
    images, masks = drawn(2)
    heights = []
    for titles in ((), ("truth", "predicted")):
        draw_overlays(images, masks, tmp_path / "scenes.png", titles=titles)
        heights.append(cv2.imread(str(tmp_path / "scenes.png")).shape[0])
    assert heights[1] > heights[0]
    assert (cv2.imread(str(tmp_path / "scenes.png"))[:5] == 255).all()


def test_a_scene_is_drawn_over_the_whole_width(tmp_path):
    images, masks = zip(scenes.scene(0, (40, 480)), strict=True)
    draw_overlays(images, masks, tmp_path / "scene.png", columns=1)
    picture = cv2.imread(str(tmp_path / "scene.png"))
    drawn_columns = (picture < 200).any(axis=(0, 2)).sum()
    assert drawn_columns > 0.9 * picture.shape[1]
    assert picture.shape[0] < picture.shape[1] / 4
