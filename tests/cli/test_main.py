import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import tensorflow as tf
import yaml
from helpers.commands import ROOT

from clouds import __version__, errors
from clouds.cli import main


@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_shows_every_flag_a_default_and_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: bin/{command}" in shown
    assert "(default: " in shown
    assert f"Example:\n  bin/{command}" in shown
    assert "None" not in shown
    assert " TEXT" not in shown.replace("--runner-options TEXT", "")


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_has_its_script(command):
    script = [str(ROOT / "bin" / command), "--help"]
    shown = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    assert f"usage: bin/{command}" in shown


@pytest.mark.parametrize("arguments", [[], ["train"]])
def test_the_version_is_the_packages(arguments, capsys):
    with pytest.raises(SystemExit):
        main.main([*arguments, "--version"])
    assert capsys.readouterr().out.strip() == __version__


def test_without_a_command_all_commands_are_listed(capsys):
    assert main.main([]) == 2
    shown = capsys.readouterr().err
    assert all(command in shown for command in main.COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "clouds: error: unknown command 'trian'. Did you mean train?"),
        (["--verson"], "clouds: error: unknown flag --verson. Did you mean --version?"),
        (
            ["train", "--rnu", "x"],
            "train: error: unknown flag --rnu. Did you mean --run?",
        ),
    ],
)
def test_a_mistyped_word_is_named_with_the_most_similar(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(message)
    assert shown.count("\n") == 1


@pytest.mark.parametrize("size", ["320", "axb", "1x2x3"])
def test_an_invalid_size_is_rejected(size, capsys):
    assert main.main(["make_scenes", "--out", "x", "--size", size]) == 2
    assert "must be height x width, such as 320x480" in capsys.readouterr().err


def test_a_users_mistake_is_one_line_and_debug_shows_the_traceback(capsys):
    arguments = ["train", "--records", "/nowhere", "--run", "/nowhere"]
    assert main.main(arguments) == 2
    assert capsys.readouterr().err.startswith(
        "train: error: '/nowhere' holds no records"
    )
    with pytest.raises(errors.InputError):
        main.main([*arguments, "--debug"])


def test_an_error_of_the_operating_system_names_the_file(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main.main(["make_scenes", "--out", str(tmp_path / "file")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        OSError("Can't write data (file write failed: No space left on device)"),
        RuntimeError("/models/part; No space left on device [Op:SaveV2]"),
    ],
)
def test_a_full_disk_is_one_line_that_names_it(error, tmp_path, monkeypatch, capsys):
    def write(settings):
        raise error

    module = types.SimpleNamespace(write=write)
    monkeypatch.setattr(main, "_load", lambda *names: module)
    monkeypatch.setattr(main.files, "_free", lambda path: 0)
    assert main.main(["make_scenes", "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert f"The disk of '{tmp_path}' is full: 0.0 MB are free. Free some" in shown
    assert shown.count("\n") == 1


def test_a_file_above_a_size_limit_is_one_line(tmp_path, monkeypatch, capsys):
    def write(settings):
        raise OSError(27, "File too large")

    module = types.SimpleNamespace(write=write)
    monkeypatch.setattr(main, "_load", lambda *names: module)
    assert main.main(["make_scenes", "--out", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert "File too large. A file exceeds the limit of this process" in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        (">/dev/full", 2, b"Standard output cannot be written: No space left"),
        (">/dev/full 2>&1", 2, b""),
        (">&-", 0, b""),
        (">&- 2>&- <&-", 0, b""),
    ],
)
def test_output_that_cannot_be_written_is_one_line(redirection, code, message):
    command = [sys.executable, "-m", "clouds.cli.main", "make_scenes", "--out", "x"]
    shell = ["bash", "-c", f'"$@" {redirection}', "bash", *command, "--print-config"]
    ended = subprocess.run(shell, stderr=subprocess.PIPE, cwd=ROOT)
    assert ended.returncode == code
    assert message in ended.stderr
    assert ended.stderr.count(b"\n") == bool(message)


def test_help_does_not_import_tensorflow():
    code = (
        "import sys\n"
        "from clouds.cli import main\n"
        "try: main.main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_printed_settings_can_be_given_back(tmp_path, capsys):
    flags = ["--out", "there", "--size", "32x48", "--seed", "7"]
    assert main.main(["make_scenes", *flags, "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert not Path("there").exists()
    assert yaml.safe_load(printed)["size"] == [32, 48]
    (tmp_path / "scenes.yaml").write_text(printed)
    again = ["make_scenes", "--config", str(tmp_path / "scenes.yaml")]
    assert main.main([*again, "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    out = ["--out", str(tmp_path / "scenes"), "--train", "1", "--test", "0"]
    assert main.main([*again, *out]) == 0
    assert len(list((tmp_path / "scenes" / "train_images").iterdir())) == 1


@pytest.mark.parametrize("lacking", [[], ["--run", "new"], ["--records", "there"]])
def test_incomplete_settings_are_printed(lacking, tmp_path, capsys):
    assert main.main(["train", *lacking, "--epochs", "7", "--print-config"]) == 0
    shown = capsys.readouterr()
    assert yaml.safe_load(shown.out)["epochs"] == 7
    assert shown.err == ""
    (tmp_path / "training.yaml").write_text(shown.out)
    assert main.main(["train", "--config", str(tmp_path / "training.yaml")]) == 2
    assert "must be given" in capsys.readouterr().err


def test_invalid_settings_are_rejected_and_not_printed(capsys):
    assert main.main(["train", "--run", "x", "--epochs", "0", "--print-config"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "train: error: --epochs must be above 0. Received: 0.\n"


def test_the_settings_of_a_run_train_another(smooth_run, records, tmp_path, capsys):
    flags = ["--config", str(smooth_run / "config.json"), "--run", str(tmp_path)]
    assert main.main(["train", *flags, "--epochs", "1", "--print-config"]) == 0
    found = yaml.safe_load(capsys.readouterr().out)
    wanted = {"records": str(records), "run": str(tmp_path), "size": [64, 96]}
    wanted |= {"epochs": 1, "batch_size": 4, "precision": "float32"}
    assert {name: found[name] for name in wanted} == wanted


def complete(words, folder, before):
    """What bash offers for the last of the words."""
    line = " ".join(words)
    script = (
        f'{before}; eval "$(clouds --print-completion bash)"\n'
        f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}\n"
        f"COMP_LINE='{line}'; COMP_POINT={len(line)}; COMP_TYPE=9\n"
        f"_python_argcomplete {words[0]}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"PATH": f"{ROOT / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        cwd=folder,
    )
    return {word.strip() for word in done.stdout.splitlines()}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["clouds", "make_"], {"make_scenes", "make_tfrecords"}),
        (["clouds", "train", "--host"], {"--host-index", "--hosts"}),
        ([str(ROOT / "bin/train"), "--host"], {"--host-index", "--hosts"}),
        (["train", "--loss", "bce"], {"bce", "bce_dice", "bce_dice_present"}),
        (["train", "--records", "rec"], {"records/"}),
    ],
)
def test_bash_completes_commands_flags_words_and_paths(words, offered, tmp_path):
    (tmp_path / "records").mkdir()
    assert complete(words, tmp_path, "true") == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_too(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"no {shell} on the PATH")
    script = f"clouds --print-completion {shell} | source; complete -C 'train --host'"
    if shell == "zsh":
        script = (
            'autoload -U compinit; compinit -u; eval "$(clouds --print-completion zsh)"'
            "; print $_comps[train]"
        )
    done = subprocess.run(
        [shell, "-c", script],
        env=os.environ | {"PATH": f"{ROOT / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    offered = "_python_argcomplete" if shell == "zsh" else "--hosts"
    assert offered in done.stdout.split(), done.stderr


def test_a_closed_pipe_loses_no_file(sample, tmp_path):
    code = "import sys; from clouds.cli import main; sys.exit(main.main())"
    arguments = ["describe", "--csv", sample / "train.csv", "--out", tmp_path / "out"]
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")
    assert (tmp_path / "out" / "statistics.json").exists()


def test_an_unreachable_remote_file_is_one_line(tmp_path, capsys):
    # TensorFlow knows no such scheme, so that nothing is asked of the network.
    assert main.main(["describe", "--csv", "far://a.csv", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "'far' not implemented" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("missing", "remedy"), [("cv2", "bin/setup"), ("uvicorn", "bin/setup serving")]
)
def test_missing_packages_are_named_with_the_command_that_installs_them(
    missing, remedy, tmp_path, monkeypatch, capsys
):
    def load(module):
        raise ModuleNotFoundError("No module", name=missing)

    monkeypatch.setattr(main.startup, "load", load)
    assert main.main(["make_scenes", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(
        f"{missing} is not installed, which bin/make_scenes needs. Run {remedy}.\n"
    )


def test_a_folder_that_tensorflow_may_not_write_is_one_line(monkeypatch, capsys):
    def fail(settings):
        raise tf.errors.PermissionDeniedError(None, None, "/x; Read-only file system")

    monkeypatch.setattr("clouds.data.make_scenes.write", fail)
    assert main.main(["make_scenes", "--out", "x"]) == 2
    error = capsys.readouterr().err
    assert error == "make_scenes: error: /x; Read-only file system\n"
