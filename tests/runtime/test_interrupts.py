import subprocess
import sys

import pytest
from helpers.commands import ROOT

BEFORE = """
import gc, os, signal, sys, time, types
from clouds import config
from clouds.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(600)
"""
AFTER = """
main._load = lambda *names: types.SimpleNamespace(write=write)
sys.exit(main.main(['make_scenes', '--out', 'x']))
"""
SAID = "make_scenes: interrupted. The same command goes on.\n"


def ended(code):
    command = [sys.executable, "-c", BEFORE + code]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False
    )
    return run.returncode, run.stdout, run.stderr


SWALLOWED = """
def write(settings):
    try:
        interrupt()
    except:
        pass
    time.sleep(600)
"""
IN_COLLECTOR = """
def write(settings):
    def lose(phase, info):
        gc.callbacks.remove(lose)
        interrupt()
    gc.callbacks.append(lose)
    gc.collect()
    time.sleep(600)
"""


@pytest.mark.parametrize("code", [SWALLOWED, IN_COLLECTOR])
def test_an_interrupt_that_gets_lost_ends_the_command_nonetheless(code):
    assert ended(code + AFTER) == (130, "", SAID)


def test_what_is_cleaned_up_after_an_interrupt_has_its_time():
    code = """
def cleaned():
    try:
        yield
    finally:
        time.sleep(2.5)
        print("cleaned")
def write(settings):
    kept = cleaned()
    next(kept)
    try:
        interrupt()
    finally:
        kept.close()
"""
    assert ended(code + AFTER) == (130, "cleaned\n", SAID)


def test_a_second_interrupt_ends_a_command_that_the_first_does_not():
    code = """
def write(settings):
    try:
        interrupt()
    finally:
        interrupt()
"""
    assert ended(code + AFTER) == (130, "", "")


def test_an_interrupt_during_imports_ends_at_once_whatever_swallows(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import __main__\ntry: __main__.interrupt()\nexcept: pass\n"
    )
    code = f"""
sys.path.insert(0, {str(tmp_path)!r})
main.COMMANDS["make_scenes"] = config.Sample, "slow", "write"
sys.exit(main.main(["make_scenes", "--out", "x"]))
"""
    assert ended(code) == (130, "", SAID)
