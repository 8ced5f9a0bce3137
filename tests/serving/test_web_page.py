import base64
import dataclasses
import hashlib
import json
import re
import time
from html.parser import HTMLParser

import pytest
from helpers import tiny_export
from helpers.commands import serving
from selenium.webdriver import ActionChains, Keys

from clouds import rle, schema
from clouds.schema import CLOUDS, RGB, Bands
from clouds.serving import web_page


class Elements(HTMLParser):
    """The elements of a page, by their attributes."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


HTML, HEADERS = web_page.build(CLOUDS)
ELEMENTS = Elements(HTML).found


def test_the_page_loads_nothing_from_elsewhere():
    for tag, attributes in ELEMENTS:
        assert tag not in ("iframe", "object", "embed", "base"), tag
        for name in ("src", "href", "srcset", "action"):
            assert attributes.get(name, "data:").startswith("data:"), attributes
    assert not re.search(r"https?://|@import|url\(", HTML)


def test_its_policy_allows_its_own_script_and_nothing_else():
    policy = HEADERS["content-security-policy"]
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", HTML, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_labels_and_colours_are_the_schemas():
    (facts,) = re.findall(r'id="facts">(.*?)</script>', HTML)
    facts = json.loads(facts)
    assert tuple(facts["labels"]) == schema.CLOUDS.labels
    assert tuple(facts["colours"]) == schema.CLOUDS.colours


def test_every_input_has_a_name_for_screen_readers():
    labelled = {attributes.get("for") for _, attributes in ELEMENTS}
    template = False
    for tag, attributes in ELEMENTS:
        template |= tag == "template"
        if tag == "input" and not template and attributes["type"] != "file":
            assert attributes["id"] in labelled
    assert ("html", {"lang": "en"}) in ELEMENTS


def until(holds, seconds=15):
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
    return found


@pytest.fixture
def opened(browser, server, tmp_path):
    """The page in a browser, where an image was chosen, and what is saved of it."""
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior",
        {"behavior": "allow", "downloadPath": str(tmp_path)},
    )
    browser.get_log("browser")
    browser.get(server)
    choose(browser, tmp_path / "my, shot.jpg", tiny_export.encoded())
    until(lambda: "found" in status(browser))
    yield browser, tmp_path
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def choose(browser, path, contents):
    path.write_bytes(contents)
    browser.find_element("id", "file").send_keys(str(path))


def status(browser):
    return browser.find_element("id", "status").text


def numbers(browser, part="numbers"):
    return [each.text for each in browser.find_elements("class name", part)]


def move(browser, slider, value):
    browser.execute_script(
        "const slider = document.getElementById(arguments[0]);"
        "slider.value = arguments[1]; slider.dispatchEvent(new Event('input'));",
        slider,
        value,
    )


def saved(path):
    until(path.exists)
    return path.read_text()


def test_an_image_is_shown_with_masks_and_numbers(opened):
    browser, _ = opened
    assert status(browser) == "my, shot.jpg: Fish, Flower found."
    fish, flower, gravel, sugar = numbers(browser)
    assert fish.startswith("13.") and fish.endswith(" px · 1 component")
    assert gravel == sugar == "none"
    assert numbers(browser, "score")[::2] == ["score 0.91", "score 0.24"]
    tags = [each.text for each in browser.find_elements("class name", "tag")]
    assert tags == ["Fish", "Flower"]
    masks = browser.find_element("id", "masks")
    assert masks.get_attribute("aria-label").startswith("Masks: Fish on 1")
    assert browser.get_log("browser") == []


def test_sliders_redraw_and_reset(opened):
    browser, _ = opened
    before = numbers(browser)
    colour = "return document.getElementById('masks').getContext('2d')"
    colour += ".getImageData(131, 175, 1, 1).data[3]"
    pale = browser.execute_script(colour)
    move(browser, "opacity", 90)
    assert browser.execute_script(colour) > pale
    move(browser, "threshold-0", 0.01)
    assert numbers(browser)[0].startswith("100.0 % of the image")
    assert numbers(browser)[1:] == before[1:]
    move(browser, "threshold-0", 1)
    assert numbers(browser)[0] == "none"
    browser.find_element("id", "reset").click()
    assert numbers(browser) == before


@pytest.mark.parametrize(
    ("presence", "drawn"),
    [((0.95, 0.95, 0.0, 0.95), ["Gravel"]), ((0.95,) * 4, ["Fish"])],
)
def test_only_labels_above_their_presence_thresholds_or_the_best_are_drawn(
    browser, tmp_path, presence, drawn
):
    rule = dataclasses.replace(tiny_export.RULE, presence=presence, force_best=True)
    tiny_export.write(tmp_path / "model", rule=rule)
    with serving(tmp_path / "model", tmp_path / "log") as (url, _):
        browser.get(url)
        choose(browser, tmp_path / "shot.jpg", tiny_export.encoded())
        until(lambda: "found" in status(browser))
        for label in range(4):
            move(browser, f"threshold-{label}", 0.1)
        found = zip(CLOUDS.labels, numbers(browser), strict=True)
        assert [label for label, text in found if text != "none"] == drawn
        assert "does not draw labels whose score is too low" in (
            browser.find_element("tag name", "main").text
        )


def test_downloads_hold_what_is_shown(opened):
    browser, folder = opened
    browser.find_element("id", "csv").click()
    lines = saved(folder / "my, shot_masks.csv").splitlines()
    assert lines[0] == "Image_Label,EncodedPixels"
    name, _, text = lines[1].rpartition(",")
    assert name == '"my, shot.jpg_Fish"'
    area = rle.decode(text, schema.SUBMISSION_SIZE).sum()
    assert f"{area:,} px" in numbers(browser)[0]
    move(browser, "threshold-1", 0.01)
    browser.find_element("id", "geojson").click()
    fish, flower = json.loads(saved(folder / "my, shot_masks.geojson"))["features"]
    assert fish["properties"]["area_px"] == area
    assert flower["properties"]["area_px"] == 350 * 525
    assert fish["properties"]["image"] == "my, shot.jpg"


def test_the_browsers_mask_is_the_models_at_its_threshold(opened):
    browser, _ = opened
    own = browser.execute_script("return result.masks[0].area")
    move(browser, "threshold-0", 0.5)
    drawn = browser.execute_script("return result.masks[0].area")
    # Probabilities come in steps of 1/255.
    assert abs(drawn - own) < 0.02 * own


def test_a_bad_file_is_reported_and_the_next_image_is_shown(opened):
    browser, folder = opened
    choose(browser, folder / "notes.png", b"no image")
    until(lambda: "of another kind" in status(browser))
    assert status(browser).endswith("still those of my, shot.jpg.")
    assert "error" in browser.find_element("id", "status").get_attribute("class")
    choose(browser, folder / "next.png", tiny_export.encoded(".png"))
    until(lambda: status(browser) == "next.png: Fish, Flower found.")


def test_a_removed_file_is_reported(opened):
    browser, folder = opened
    browser.execute_script(
        "document.getElementById('file').addEventListener("
        "'input', (event) => { window.kept = event.target.files[0]; });"
    )
    choose(browser, folder / "gone.jpg", tiny_export.encoded())
    until(lambda: status(browser).startswith("gone.jpg: Fish"))
    (folder / "gone.jpg").unlink()
    browser.execute_script("analyse(kept)")
    until(lambda: "cannot be read" in status(browser))


def test_a_late_answer_does_not_replace_the_next_one(opened):
    browser, folder = opened
    browser.execute_script(
        "const original = ask;"
        "ask = async (...given) => {"
        "  ask = original;"
        "  const answer = await original(...given);"
        "  await new Promise((resolve) => { window.resume = resolve; });"
        "  return answer;"
        "};"
    )
    choose(browser, folder / "first.jpg", tiny_export.encoded())
    until(lambda: browser.execute_script("return window.resume !== undefined"))
    choose(browser, folder / "second.jpg", tiny_export.encoded())
    until(lambda: status(browser).startswith("second.jpg: Fish"))
    browser.execute_async_script("resume(); setTimeout(arguments[0], 500);")
    assert status(browser).startswith("second.jpg: Fish")
    assert browser.execute_script("return result.name") == "second.jpg"


def drop(browser, count, text=""):
    browser.execute_script(
        "const dropped = new DataTransfer();"
        "for (let k = 0; k < arguments[0]; k++)"
        "  dropped.items.add(new File(['x'], `${k}.jpg`, { type: 'image/jpeg' }));"
        "if (arguments[1]) dropped.setData('text/plain', arguments[1]);"
        "document.dispatchEvent(new DragEvent('drop', { dataTransfer: dropped }));",
        count,
        text,
    )
    return status(browser)


def test_dropping_anything_but_one_file_is_reported(opened):
    browser, _ = opened
    assert drop(browser, 2).startswith("Drop one image file. Received: 2.")
    assert drop(browser, 0, "words").startswith("Drop one image file. Received: 0")
    drop(browser, 1)
    until(lambda: status(browser).startswith("0.jpg: Image must be"))


def test_formats_that_only_the_browser_decodes_are_accepted(opened):
    browser, folder = opened
    choose(browser, folder / "shot.webp", tiny_export.encoded(".webp"))
    until(lambda: status(browser) == "shot.webp: Fish, Flower found.")


def test_it_fits_a_phone_and_works_by_keyboard(opened):
    browser, _ = opened
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    browser.execute_script("document.activeElement.blur()")
    reached = set()
    for _ in range(20):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        reached.add(browser.switch_to.active_element.get_attribute("id"))
    wanted = {"file", "opacity", "threshold-0", "threshold-3", "csv", "geojson"}
    assert wanted <= reached


def test_the_page_names_the_files_that_a_model_takes():
    bands = Bands(("vis", "i<r"), "uint16")
    for given, text in (
        (RGB, ">JPEG, PNG or BMP<"),
        (bands, ">PNG of 2 bands of uint16 (vis, i&lt;r), shown in the colours"),
        (bands._replace(dtype="float32"), ">No files: the model takes 2 bands of flo"),
    ):
        assert text in web_page.build(CLOUDS, given).html
