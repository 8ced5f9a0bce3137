"""The scripts in bin/ that are no commands of `clouds.cli.main`."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import ROOT


@pytest.fixture
def package(tmp_path):
    """A copy of bin/setup and bin/quickstart beside commands that do nothing."""
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    for script in (ROOT / "bin").iterdir():
        stub = tmp_path / "bin" / script.name
        if script.name in ("setup", "quickstart"):
            shutil.copy(script, stub)
        else:
            stub.write_text("#!/bin/sh\n")
            stub.chmod(0o755)
    contents = (ROOT / "setup.cfg").read_bytes()
    sums = subprocess.run(["cksum"], input=contents, capture_output=True, check=True)
    stamp = f"{sums.stdout.decode().strip()} {tmp_path}\n"
    (tmp_path / ".clouds-base").write_text(stamp)
    return tmp_path


def output(package, *command):
    environment = os.environ | {"VIRTUAL_ENV": str(package)}
    command = [package / "bin" / command[0], *command[1:]]
    run = subprocess.run(command, env=environment, capture_output=True, check=True)
    return run.stdout.decode()


def test_setup_says_that_all_is_in_place_unless_it_is_to_be_quiet(package):
    found = output(package, "setup")
    assert found == f"Already installed: clouds in {package}\n"
    assert output(package, "setup", "--quiet") == ""


@pytest.mark.parametrize("there", [True, False])
def test_setup_tells_of_tensorflow_only_where_it_is_not_there_yet(package, there):
    (package / "bin/python").write_text(
        f'#!/bin/sh\ncase "$*" in *find_spec*) exit {int(not there)} ;; esac\n'
    )
    (package / "bin/python").chmod(0o755)
    shown = output(package, "setup", "serving")
    assert f"Installing clouds[serving] into {package}\n" in shown
    assert ("600 MB" in shown) == (not there)
    assert shown.endswith(f"Installed clouds[serving] in {package}\n")


def test_setup_that_is_interrupted_says_that_it_goes_on(package):
    # As of a terminal, the signal comes to both; pip ends, and then the script.
    (package / "bin/python").write_text(
        '#!/bin/sh\ncase "$*" in *pip*) kill -INT $PPID; exit 1 ;; esac\n'
    )
    (package / "bin/python").chmod(0o755)
    environment = os.environ | {"VIRTUAL_ENV": str(package)}
    command = [package / "bin/setup", "serving"]
    # Where it is ignored already, as in a job in the background, no trap is set.
    run = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert run.returncode == 130
    assert (
        run.stderr.decode()
        == "setup: interrupted. Run the same command again to continue.\n"
    )


def test_setup_installs_without_a_last_word_where_it_is_to_be_quiet(package):
    (package / "bin/python").write_text("#!/bin/sh\n")
    (package / "bin/python").chmod(0o755)
    shown = output(package, "setup", "--quiet", "docs")
    assert shown == f"Installing clouds[docs] into {package}\n"


def test_setup_without_extras_says_what_to_try(package):
    (package / "bin/python").write_text("#!/bin/sh\n")
    (package / "bin/python").chmod(0o755)
    (package / ".clouds-base").unlink()
    shown = output(package, "setup")
    assert shown.endswith(f"clouds in {package}\nTry it with bin/quickstart.\n")


def test_the_quickstart_refuses_places_that_are_not_there_before_all_else(package):
    (package / "bin/setup").write_text("#!/bin/sh\necho set up\n")
    command = [package / "bin/quickstart", "--images", package, "--csv", "gone.csv"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stdout == ""
    assert f"'{Path.cwd()}/gone.csv' does not exist." in run.stderr


def test_the_quickstart_shows_the_tables_once_at_the_end(package):
    (package / "bin/evaluate").write_text(
        "#!/bin/sh\n"
        "echo a table\n"
        "mkdir -p runs/quickstart\n"
        "echo a table >runs/quickstart/metrics.txt\n"
    )
    shown = output(package, "quickstart")
    assert shown.count("a table") == 1
    assert shown.index("$ bin/report") < shown.index("a table")
    _, _, after = shown.partition("$ bin/evaluate --records")
    assert after.splitlines()[1].startswith("The tables are printed")
    assert "nstalled" not in shown


def test_commands_do_not_import_modules_of_the_working_folder(tmp_path):
    for name in ("json", "yaml", "argparse", "numpy", "clouds"):
        path = tmp_path / f"{name}.py"
        path.write_text(f"open('imported-{name}', 'w')\nraise SystemExit(9)\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    environment |= {"VIRTUAL_ENV": sys.prefix}
    command = [ROOT / "bin/clouds", "train", "--print-config", "--run", "x"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    assert "run: x" in ended.stdout
    assert not list(tmp_path.glob("imported-*"))
