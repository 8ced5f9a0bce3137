import os
import signal
import subprocess
import sys

import pytest
from helpers.commands import ROOT

from clouds.runtime import interrupts

BEFORE = """
import os, signal, sys, time, types
from clouds.config.data import Sample

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
MESSAGE = "make_scenes: interrupted. Run the same command again to resume.\n"


def ended(code):
    command = [sys.executable, "-c", BEFORE + code]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False
    )
    return run.returncode, run.stdout, run.stderr


def test_clean_up_after_an_interrupt_may_take_time():
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
    assert ended(code + AFTER) == (130, "cleaned\n", MESSAGE)


def test_a_second_interrupt_ends_a_command_at_once():
    code = """
def write(settings):
    try:
        interrupt()
    except:
        pass
    interrupt()
"""
    assert ended(code + AFTER) == (130, "", "")


def test_an_interrupt_during_imports_ends_the_command_at_once(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import __main__\ntry: __main__.interrupt()\nexcept: pass\n"
    )
    code = f"""
sys.path.insert(0, {str(tmp_path)!r})
main.COMMANDS["make_scenes"] = Sample, "slow", "write"
sys.exit(main.main(["make_scenes", "--out", "x"]))
"""
    assert ended(code) == (130, "", MESSAGE)


def test_the_first_interrupt_is_a_request_and_the_second_is_raised(capfd):
    # A job in the background has interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), interrupts.requested("Stopping.") as event:
        assert not event.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert event.is_set()
        assert "Stopping." in capfd.readouterr().out
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
