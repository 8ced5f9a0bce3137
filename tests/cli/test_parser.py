import dataclasses

import pytest

from clouds.cli import main
from clouds.cli import parser as parser_module
from clouds.config import fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shared:
    """What several commands have."""

    size: fields.Size = fields.flag("of 100 %", (2, 3), section="network")
    names: tuple[str, ...] | None = fields.flag("some names", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(_Shared):
    """Does something.

    Example:
      bin/act --out there
    """

    thing: fields.File = fields.positional("what to do it with")
    out: fields.Folder = fields.flag("where to put it")
    kind: fields.Decode = fields.flag("how to do it", "exact")
    fast: bool = fields.flag("do it quickly", False, renamed_from="quick")
    found: int = fields.kept(3)


@pytest.fixture
def parser():
    return parser_module.build({"act": Settings})[1]["act"]


def test_help_lists_own_fields_first_under_their_sections(parser, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    lines = [line.strip() for line in parser.format_help().splitlines()]
    assert lines[0] == "usage: bin/act THING --out DIR [flags]"
    wanted = [
        "Does something.",
        "flags:",
        "THING                 what to do it with (required)",
        "--out DIR             where to put it (required)",
        "how to do it (default: exact)",
        "--fast, --no-fast     do it quickly (default: no)",
        "network:",
        "--size HxW            of 100 % (default: 2x3)",
        "some names",
        "general:",
        "Example:",
        "bin/act --out there",
    ]
    assert [line for line in lines if line in wanted] == wanted
    assert not any("found" in line for line in lines)


def test_flags_not_given_are_left_out(parser):
    given = vars(parser.parse_args(["--names", "a", "b", "--no-fast", "here"]))
    general = ("config", "print_config", "log_level", "debug")
    assert {name: given.pop(name) for name in general} == {
        "config": None,
        "print_config": False,
        "log_level": None,
        "debug": False,
    }
    assert given == {"names": ["a", "b"], "fast": False, "thing": "here"}


@pytest.mark.parametrize(("flag", "value"), [("--sure", True), ("--no-sure", False)])
def test_a_switch_without_a_default_takes_no_argument(flag, value):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Unsure:
        """Does something.

        Example:
          bin/ask
        """

        sure: bool | None = fields.flag("whether it is sure", None)

    parser = parser_module.build({"ask": Unsure})[1]["ask"]
    assert vars(parser.parse_args([flag]))["sure"] is value
    assert "sure" not in vars(parser.parse_args([]))


def test_a_renamed_flag_is_still_accepted_but_hidden(parser):
    assert vars(parser.parse_args(["--quick"]))["fast"] is True
    assert vars(parser.parse_args(["--no-quick"]))["fast"] is False
    assert "quick" not in parser.format_help().replace("quickly", "")


def test_the_console_script_shows_its_own_name(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/clouds"])
    whole, each = parser_module.build({"act": Settings})
    assert "usage: clouds act THING" in each["act"].format_help()
    assert "  clouds act --out there" in each["act"].format_help()
    assert whole.format_help().startswith("usage: clouds [")


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (["--fats", "3"], "unknown flag --fats. Did you mean --fast?"),
        (["--siez=2x3"], "unknown flag --siez. Did you mean --size?"),
        (["--zebra"], "unknown flag --zebra"),
        (["stray"], "unknown argument 'stray'"),
    ],
)
def test_unknown_arguments_are_named_with_the_most_similar(parser, rest, message):
    assert parser.unknown(rest) == message


def test_a_missing_flag_or_missing_quotes_are_suggested(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main.main(["report", str(tmp_path)])
    assert f"Did you mean --run {tmp_path}?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main.main(["predict", "--run", "r", "--out", "o", "--images", "a.jpg", "b.jpg"])
    assert "'b.jpg'. A glob must be in quotes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--size"],
            "act: error: argument --size: expected one argument (write a value",
        ),
        (["--log-level", "loud"], "act: error: argument --log-level: invalid choice"),
    ],
)
def test_an_error_of_the_parser_is_one_line(parser, arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(message)
    assert shown.count("\n") == 1
    assert shown.endswith("See bin/act --help.\n")


def test_positional_arguments_may_take_any_number_of_values(monkeypatch):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Several:
        """Does something.

        Example:
          bin/act a b
        """

        run: fields.LocalFolders = fields.positional("what to do it with")
        out: fields.File = fields.flag("where to put it", "there")

    parser = parser_module.build({"act": Several})[1]["act"]
    assert parser.format_help().startswith("usage: bin/act RUN [RUN ...] [flags]")
    given = vars(parser.parse_args(["a", "b", "--out", "here"]))
    assert (given["run"], given["out"]) == (["a", "b"], "here")
    assert "run" not in vars(parser.parse_args([]))
