import dataclasses
import json

import pytest
import yaml

from clouds.cli import main
from clouds.config import fields, resolve
from clouds.config.data import Description
from clouds.config.prediction import Evaluation, SubmissionCheck
from clouds.config.presentation import Comparison, Report
from clouds.config.training import Training
from clouds.errors import InputError
from clouds.training import augment

ALL = [settings for settings, _, _ in main.COMMANDS.values()]


def training(**changes):
    return Training(records="r", run="x", **changes)


def test_the_defaults_of_training_are_the_notebooks():
    settings = training()
    assert (settings.epochs, settings.batch_size) == (15, 32)
    assert (settings.learning_rate, settings.min_learning_rate) == (3e-4, 1e-6)
    assert (settings.stop_patience, settings.plateau_patience) == (5, 3)
    assert settings.plateau_factor == 0.5
    assert (settings.horizontal_flip, settings.vertical_flip) == (0.5, 0.5)
    assert (settings.grid_distortion, settings.elastic) == (0.2, 0.2)


@pytest.mark.parametrize("settings", ALL)
def test_settings_are_frozen_and_every_field_has_a_help_text(settings):
    assert settings.__dataclass_params__.frozen
    helps = {
        field.name: field.metadata["help"] for field in dataclasses.fields(settings)
    }
    assert [name for name, text in helps.items() if not text] in (
        [],
        ["decode", "records_size", "labels", "grid"]
        + ["band_names", "dtype", "band_means", "band_deviations"],
    )
    assert "Example:\n      bin/" in settings.__doc__


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "--epochs must be above 0. Received: 0"),
        ({"batch_size": -1}, "--batch-size"),
        ({"learning_rate": 0}, "--learning-rate"),
        ({"seed": -1}, "--seed must be 0 or more"),
        ({"horizontal_flip": 1.5}, "--horizontal-flip must be from 0 to 1"),
        ({"size": (0, 150)}, "--size must be above 0. Received: 0x150"),
        ({"learning_rate": float("nan")}, "--learning-rate"),
        ({"augmentation": "RandomContrast"}, "--augmentation must be a JSON list"),
        ({"augmentation": '{"name": "x"}'}, "--augmentation must be a JSON list"),
        ({"augmentation": '[{"factor": 1}]'}, "--augmentation must be a JSON list"),
    ],
)
def test_values_out_of_range_are_rejected(changes, message):
    with pytest.raises(InputError, match=message):
        training(**changes)


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        (Report, {"run": "r", "out": "folder"}, "--out must be a file.*folder"),
        (SubmissionCheck, {"file": "folder"}, "FILE must be a file"),
        (
            Description,
            {"csv": "c", "out": "file"},
            "--out must be a folder.*fil",
        ),
        (
            Evaluation,
            {"records": "r", "run": ("r", "file")},
            "--run must be a f",
        ),
        (Comparison, {"run": ("file", "r")}, "^RUN must be a folder"),
        (SubmissionCheck, {"file": "folder"}, "^FILE must be a file"),
        (
            Training,
            {"records": "gs://b/r", "run": "gs://b/run"},
            "^--run must be a folder on this machine. Received: 'gs://b/run'",
        ),
        (Report, {"run": "r", "out": "gs://b/p"}, "^--out must be a file on th"),
    ],
)
def test_a_folder_in_place_of_a_file_and_the_reverse_are_rejected(
    settings, given, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=message):
        resolve.from_flags(settings, given)


def test_flags_left_out_are_those_of_the_run_to_resume(tmp_path):
    own = Training(records="r", run="x", size=(32, 64), epochs=3, overwrite=True)
    fields = json.dumps(dataclasses.asdict(own))
    (tmp_path / resolve.FILE).write_text(fields)
    flags = {"run": str(tmp_path), "epochs": 9}
    expected = {**flags, "overwrite": False}
    found = resolve.from_flags(Training, flags)
    assert found == dataclasses.replace(own, **expected)
    with pytest.raises(InputError, match="--records must be given"):
        resolve.from_flags(Training, {**flags, "overwrite": True})
    with pytest.raises(InputError, match="--records must be given"):
        resolve.from_flags(Training, {"run": str(tmp_path / "new")})


def test_a_file_with_the_earlier_name_of_a_renamed_flag_is_read(tmp_path):
    known = Training(records="r", run="x", size=(2, 3), hosts=2, host_index=1)
    fields = dataclasses.asdict(known)
    fields["host"] = fields.pop("host_index")
    (tmp_path / resolve.FILE).write_text(json.dumps(fields))
    assert resolve.of_run(str(tmp_path)) == known


def test_other_commands_take_their_defaults():
    flags = {"records": "r", "run": ("x",), "batch_size": 3}
    assert resolve.from_flags(Evaluation, flags) == Evaluation(**flags)


FILE = """
records: there
learning-rate: 1e-4  # which YAML takes for text
size: 32x48
epochs: 7
augmentation: [{name: RandomContrast, factor: 0.2}]
"""


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_flags_take_precedence_over_a_file_and_that_over_defaults(suffix, tmp_path):
    path = tmp_path / f"settings.{suffix}"
    path.write_text(FILE if suffix == "yaml" else json.dumps(yaml.safe_load(FILE)))
    found = resolve.from_flags(Training, {"run": "x", "epochs": "9"}, str(path))
    assert found == Training(
        records="there",
        run="x",
        learning_rate=1e-4,
        size=(32, 48),
        epochs=9,
        augmentation='[{"name": "RandomContrast", "factor": 0.2}]',
    )


def test_a_file_takes_precedence_over_a_resumed_run(tmp_path):
    own = Training(records="r", run="x", size=(32, 64), epochs=3, seed=4)
    (tmp_path / resolve.FILE).write_text(json.dumps(dataclasses.asdict(own)))
    path = tmp_path / "more.yaml"
    path.write_text(f"run: {tmp_path}\nepochs: 9\n")
    found = resolve.from_flags(Training, {}, str(path))
    assert found == dataclasses.replace(own, run=str(tmp_path), epochs=9)


@pytest.mark.parametrize("settings", ALL)
def test_printed_settings_are_read_again(settings, tmp_path):
    known = resolve.gather(settings, {})
    path = tmp_path / "settings.yaml"
    path.write_text(resolve.as_yaml(settings, known))
    assert resolve.gather(settings, {}, str(path)) == known


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epohcs: 3", "FILE: unknown setting 'epohcs'. Did you mean epochs?"),
        ("epochs: three", "'epochs' in FILE must be an integer. Received: 'three'"),
        ("epochs: 1.5", "'epochs' in FILE must be an integer. Received: 1.5"),
        ("epochs: true", "'epochs' in FILE must be an integer. Received: true"),
        ("epochs:", "'epochs' in FILE must be an integer. Received: null"),
        ("deterministic: 1", "'deterministic' in FILE must be true or false."),
        ("records: 5", "'records' in FILE must be a path. Received: 5"),
        ("size: [3]", "'size' in FILE must be height x width, such as 320x480."),
        ("size: 3", "'size' in FILE must be height x width"),
        (
            "loss: dcie",
            "dice or bce_dice_present. Received: 'dcie'. Did you mean",
        ),
        (
            "epochs: 0",
            "--epochs must be above 0. Received: 0. Values not given by flags are",
        ),
        ("- epochs", "FILE must hold names with values.* Received: list"),
        ("epochs: [", "FILE is not valid YAML or JSON"),
        ("[" * 100_000, "FILE is not valid YAML or JSON"),
        ("epochs: " + "{a: " * 3000, "FILE is not valid YAML or JSON"),
        ("epochs: 2024-13-45", "FILE is not valid YAML or JSON"),
        ("epochs: !!int x", "FILE is not valid YAML or JSON"),
        ("epochs: !!bool x", "FILE is not valid YAML or JSON"),
        ("epochs: !!timestamp x", "FILE is not valid YAML or JSON"),
        ("epochs: 3\nchecksum: x", "contents do not match its checksum"),
        ("[a]: 3", "unknown setting|not valid YAML"),
    ],
)
def test_an_error_in_a_file_names_the_file_and_the_key(text, message, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    given = {"records": "r", "run": "x"}
    if "records" in text:
        given.pop("records")
    with pytest.raises(InputError, match=message.replace("FILE", str(path))):
        resolve.from_flags(Training, given, str(path))


def test_a_bomb_of_aliases_is_rejected_at_once(tmp_path):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 30)]
    path = tmp_path / "settings.yaml"
    path.write_text("\n".join([*lines, "epochs: *a29"]))
    with pytest.raises(InputError, match="aliases, .name, are not accepted"):
        resolve.from_flags(Training, {}, str(path))


def test_a_long_value_is_not_repeated_in_full(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"epochs": "x" * 10_000}))
    with pytest.raises(InputError, match="x…") as error:
        resolve.from_flags(Training, {}, str(path))
    assert len(str(error.value)) < 1000


def test_a_file_that_is_not_json_is_rejected(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text("{epochs: 3")
    with pytest.raises(InputError, match="not valid YAML or JSON"):
        resolve.from_flags(Training, {}, str(path))


def test_a_flag_of_several_values_takes_one():
    flags = {"records": "r", "run": "x", "threshold": "0.5", "min_area": ["1", "2"]}
    found = resolve.gather(Evaluation, flags)
    assert (found["run"], found["threshold"]) == (("x",), (0.5,))
    assert found["min_area"] == (1.0, 2.0)
    with pytest.raises(InputError, match="--threshold must be a number"):
        resolve.gather(Evaluation, {"threshold": []})


def test_a_tilde_in_a_path_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/me")
    file = tmp_path / "settings.yaml"
    file.write_text("records: ~/records\nthreshold: 0.5\n")
    flags = {"run": ["~/a", "b~"], "batch_size": 2}
    made = resolve.from_flags(Evaluation, flags, str(file))
    assert made.records == "/home/me/records"
    assert made.run == ("/home/me/a", "b~")


def test_tuning_after_training_is_rejected_with_several_hosts():
    with pytest.raises(InputError, match="--tune cannot be combined with --hosts"):
        Training(records="r", run="x", tune=True, hosts=2)


def test_flags_of_one_name_are_alike_in_all_commands():
    # What a command writes is a page or a folder.
    known = {"out": {"DIR", "FILE"}}
    # An export's precision is not the machine's to choose.
    known["precision"] = {
        "{auto,float32,mixed_bfloat16,mixed_float16}",
        "{float32,mixed_bfloat16}",
    }
    forms = {}
    for settings in ALL:
        for name, hint in fields.hints(settings).items():
            forms.setdefault(name, set()).add(fields.form(hint).metavar)
    assert {name: some for name, some in forms.items() if len(some) > 1} == known


def test_defaults_of_flags_of_one_name_differ_only_where_the_work_does():
    defaults = {}
    for settings in ALL:
        for field in dataclasses.fields(settings):
            if field.default not in (dataclasses.MISSING, None):
                defaults.setdefault(field.name, set()).add(field.default)
    different = {name for name, some in defaults.items() if len(some) > 1}
    assert different == {"size", "batch_size"}


@pytest.mark.parametrize("name", ["winner", "hour"])
def test_a_recipe_gives_settings_that_flags_override(name):
    flags = {"recipe": name, "records": "r", "run": "x", "epochs": "2"}
    made = resolve.from_flags(Training, flags)
    assert made.recipe == name and made.epochs == 2
    plain = Training(records="r", run="x")
    assert made.size != plain.size and made.learning_rate != plain.learning_rate
    shown = yaml.safe_load(resolve.as_yaml(Training, resolve.gather(Training, flags)))
    assert shown["size"] == list(made.size) and shown["schedule"] == made.schedule


def test_the_layers_of_the_winners_recipe_exist():
    made = resolve.from_flags(
        Training, {"recipe": "winner", "records": "r", "run": "x"}
    )
    built = augment.build(extra=json.loads(made.augmentation))
    assert len(built.layers) == 4


def test_an_unknown_recipe_is_refused():
    with pytest.raises(InputError, match=r"--recipe must be notebook, winner or hour"):
        resolve.from_flags(Training, {"recipe": "winer", "records": "r", "run": "x"})
