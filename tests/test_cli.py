import subprocess
import sys

import pytest
from conftest import ROOT

from clouds import __version__, cli, errors


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_shows_every_flag_a_default_and_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: bin/{command}" in shown
    assert "(default: " in shown
    assert f"Example:\nbin/{command}" in shown
    assert "None" not in shown


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_its_script(command):
    script = [str(ROOT / "bin" / command), "--help"]
    shown = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert f"usage: bin/{command}" in shown


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize("size", ["320", "axb", "1x2x3"])
def test_a_size_that_is_none_is_refused(size, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["make_scenes", "--out", "x", "--size", size])
    assert ended.value.code == 2
    assert "expected height x width" in capsys.readouterr().err


def test_a_users_mistake_is_one_line_and_debug_shows_its_place(capsys):
    arguments = ["train", "--records", "/nowhere", "--run", "/nowhere"]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("train: error: Records must lie in")
    with pytest.raises(errors.InputError):
        cli.main([*arguments, "--debug"])


def test_an_operating_systems_refusal_names_the_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["make_scenes", "--out", str(tmp_path / "file")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_help_is_there_without_tensorflow():
    code = (
        "import sys\n"
        "from clouds import cli\n"
        "try: cli.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
