"""README and docs: their commands and code run, their links and messages are real."""

import ast
import configparser
import contextlib
import importlib.util
import io
import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from helpers import small
from helpers.commands import ROOT

from clouds.cli import main, parser
from clouds.runtime import startup

PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "tfrecords/README.md",
    )
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SCRIPTS = {script.name for script in (ROOT / "bin").iterdir()}
OF_OTHERS = {
    "--no-deps",
    "--oracle",
    "--colab",
    "--all",
    "--setup_file",
    "--prism_location",
}
OF_OTHERS |= {"--logdir", "--no", "--data", "--data-binary"}
WITH_A_SERVER = {"serve", "request"}
"""They end with it, or need one; their flags are checked."""
SMALLER = {
    "make_scenes": {"--size": "64x96"},
    "make_tfrecords": {"--size": "64x96", "--workers": "1"},
    "train": {"--epochs": "1", "--precision": "float32"},
}
"""What the tutorials' commands get besides, so that they take seconds."""


def blocks(page):
    """The fenced blocks of a page: language and text."""
    return FENCE.findall(PAGES[page])


def commands(script):
    """The commands of ours in a block: name and arguments."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.match(r"[A-Z_]+=", words[0]):
            words = words[1:]
        if words and words[0].startswith("bin/"):
            name = words[0].removeprefix("bin/")
            assert name in SCRIPTS, line
            if name in main.COMMANDS:
                yield name, words[1:]


@pytest.mark.parametrize("page", [page for page in PAGES if "```sh" in PAGES[page]])
def test_the_commands_of_a_page_take_their_flags(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # What a training that goes on has of its own.
    (tmp_path / "runs/first").mkdir(parents=True)
    own = {"records": "tfrecords/clouds", "run": "runs/first", "size": [320, 480]}
    (tmp_path / "runs/first/config.json").write_text(json.dumps(own))
    for language, text in blocks(page):
        # Pages show commands on files of others as bash.
        for name, arguments in commands(text) if language in ("sh", "bash") else ():
            words, _, target = _split(arguments, ">")
            code = main.main([name, *words, "--print-config"])
            printed = capsys.readouterr()
            assert code == 0, (name, arguments, printed.err)
            for path in target:
                (tmp_path / path).write_text(printed.out)


def test_a_tpu_gets_every_need_but_tensorflow():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    needs = settings["options"]["install_requires"].split()
    installed = " ".join(
        text for language, text in blocks("docs/howto/devices.md") if language == "sh"
    )
    assert set(needs[1:]) < set(shlex.split(installed))
    assert needs[0].startswith("tensorflow>")


def _split(words, mark):
    place = words.index(mark) if mark in words else len(words)
    return words[:place], words[place : place + 1], words[place + 1 :]


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_and_script_that_a_page_names_exists(page):
    _, parsers = parser.build({name: row[0] for name, row in main.COMMANDS.items()})
    known = {flag for command in parsers.values() for flag in command.flags}
    known |= {"--images", "--csv", "--print-completion", *OF_OTHERS}
    for span in re.findall(r"`([^`]+)`", FENCE.sub("", PAGES[page])):
        named = set(re.findall(r"(?<![\w-])--[a-z]+(?:[-_][a-z]+)*", span))
        benchmarks = re.findall(r"benchmarks/\w+\.py", span)
        theirs = "".join((ROOT / benchmark).read_text() for benchmark in benchmarks)
        assert named - set(re.findall(r'"(--[\w-]+)"', theirs)) <= known, span
        assert set(re.findall(r"(?<![\w./])bin/([\w-]+)", span)) <= SCRIPTS, span


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page):
    for target in re.findall(r"\]\(([^)#]+)", PAGES[page]):
        if "://" not in target:
            assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize(
    "pages",
    [
        [
            "docs/tutorials/competition.md",
            "docs/tutorials/worldview.md",
            "docs/howto/serving.md",
        ],
        ["docs/howto/own-data.md"],
        ["docs/tutorials/maps.md"],
        ["docs/notebook.md"],
        ["docs/reference/dice.md"],
    ],
    ids=lambda pages: pages[-1],
)
def test_a_page_can_be_followed(pages, tmp_path, sample, monkeypatch, capsys):
    if "docs/tutorials/maps.md" in pages:
        for package in ("rasterio", "shapely", "xarray", "zarr"):
            pytest.importorskip(package, reason="`bin/setup geo` installs it")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(startup.load("clouds.models.unet"), "build", small.build)
    shutil.copytree(sample / "test_images", tmp_path / "barbados")
    shutil.copytree(sample / "train_images", tmp_path / "my_images")
    shutil.copy(next((sample / "test_images").iterdir()), tmp_path / "scene.jpg")
    for page in pages:
        printed, names = None, {}
        for language, text in blocks(page):
            if language == "sh":
                for name, arguments in commands(text):
                    if name in WITH_A_SERVER:
                        continue
                    given = [name, *arguments, *_smaller(name, arguments)]
                    assert main.main(given) == 0, (given, capsys.readouterr().err)
            elif language == "python":
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(text, names)
                printed = out.getvalue()
            elif language == "text" and printed:
                assert printed == text
                printed = None


def _smaller(name, arguments):
    options = SMALLER.get(name, {}).items()
    pairs = [pair for pair in options if pair[0] not in arguments]
    return [word for pair in pairs for word in pair]


def test_the_tutorials_leave_what_they_promise(tmp_path):
    tutorial = (
        PAGES["docs/tutorials/competition.md"] + PAGES["docs/tutorials/worldview.md"]
    )
    assert "runs/first/test/submission_post.csv" in tutorial
    assert "runs/barbados/masks.geojson" in tutorial


def test_the_readme_ends_after_a_page_and_a_half():
    assert len(PAGES["README.md"].splitlines()) <= 100


TEXTS = "\n".join(
    node.value
    for module in (ROOT / "clouds").rglob("*.py")
    for node in ast.walk(ast.parse(module.read_text()))
    if isinstance(node, ast.Constant) and isinstance(node.value, str)
)
"""All texts of the code, those between the values of f-strings included."""
SETUP = " ".join(re.sub(r'"\s*\\?\s*"?', " ", (ROOT / "bin/setup").read_text()).split())


@pytest.mark.parametrize(
    "message", re.findall(r"^> (.+)$", PAGES["docs/faq.md"], re.MULTILINE)
)
def test_a_message_that_the_errors_page_quotes_is_the_programs(message):
    of_setup = message.removeprefix("setup: error:")
    known = TEXTS if of_setup == message else SETUP
    parts = [part.strip(" .:,'") for part in of_setup.split("…")]
    longest = max(parts, key=len)
    assert len(longest) > 10
    assert all(part in known for part in parts if len(part) > 10)


def test_the_pages_build_without_a_warning(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings"):
        if not importlib.util.find_spec(package):
            pytest.skip(f"no {package}; `bin/setup docs` installs it")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert built.returncode == 0, built.stderr
    help_of_train = (tmp_path / "reference/commands/index.html").read_text()
    assert "--learning-rate" in help_of_train
    assert "clouds.rle.encode" in (tmp_path / "reference/masks/index.html").read_text()
    for page in tmp_path.glob("reference/*/index.html"):
        returns = r"Returns:</span>.*?</ul>"
        for told in re.findall(returns, page.read_text(), re.DOTALL):
            assert told.count("<li") == 1, told
    tutorial = (tmp_path / "tutorials/competition/index.html").read_text()
    assert '<span class="flag">--checkpoint-every</span>' in tutorial
