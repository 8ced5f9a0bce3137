import dataclasses
import json

import pytest

from clouds import cli, config
from clouds.errors import InputError

ALL = [settings for settings, _, _ in cli.COMMANDS.values()]


def training(**changes):
    return config.Training(records="r", run="x", **changes)


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
    assert [name for name, text in helps.items() if not text] in ([], ["decode"])
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
def test_values_out_of_range_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        training(**changes)


def test_flags_left_out_are_those_of_the_run_that_goes_on(tmp_path):
    own = config.Training(records="r", run="x", size=(32, 64), epochs=3, overwrite=True)
    fields = json.dumps(dataclasses.asdict(own))
    (tmp_path / config.FILE).write_text(fields)
    flags = {"run": str(tmp_path), "epochs": 9}
    expected = {**flags, "overwrite": False}
    found = config.from_flags(config.Training, flags)
    assert found == dataclasses.replace(own, **expected)
    with pytest.raises(InputError, match="--records must be given"):
        config.from_flags(config.Training, {**flags, "overwrite": True})
    with pytest.raises(InputError, match="--records must be given"):
        config.from_flags(config.Training, {"run": str(tmp_path / "new")})


def test_other_commands_take_their_defaults():
    flags = {"records": "r", "run": "x", "batch_size": 3}
    assert config.from_flags(config.Evaluation, flags) == config.Evaluation(**flags)
