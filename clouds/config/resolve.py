"""Merges the settings of a command from flags, a file and the run to resume."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from clouds.config import checks, fields
from clouds.config.training import Training
from clouds.errors import InputError, MissingError, did_you_mean
from clouds.runtime import checksums

_MISTYPED = (ValueError, TypeError, LookupError, AttributeError, RecursionError)
"""Exceptions of PyYAML for scalars that do not fit their tag, and for deep nesting."""

FILE = "config.json"
"""File in a run's folder with the settings of the training."""


def from_flags(settings: type, flags: Mapping, file: str | None = None):
    """Makes the settings of a command from its flags and a file.

    Args:
      settings: class of the settings.
      flags: values of the fields that were given.
      file: YAML or JSON with other values.

    Raises:
      InputError: as for `gather` and `make`.
    """
    return make(settings, gather(settings, flags, file), file)


def gather(settings: type, flags: Mapping, file: str | None = None) -> dict:
    """Collects the values of a command's settings.

    Args:
      settings: class of the settings.
      flags: values of the fields that were given; they take precedence.
      file: YAML or JSON with other values, by the same names.

    Returns:
      The known values in the order of the fields: given values, else those of the given
      recipe, else those of the run that a training resumes, else defaults.

    Raises:
      InputError: the file or the run's settings cannot be read, a name is unknown, or
        a value has another type.
    """
    hints = fields.hints(settings)
    given = _read_file(settings, file) if file else {}
    for field in dataclasses.fields(settings):
        if field.name in flags:
            hint = hints[field.name]
            given[field.name] = fields.read(flags[field.name], hint, fields.name(field))
    values = {
        field.name: field.default
        for field in dataclasses.fields(settings)
        if field.default is not dataclasses.MISSING or field.name in given
    }
    return {**values, **_stored(settings, given), **_recipe(settings, given), **given}


def make(settings: type, values: Mapping, file: str | None = None):
    """Makes the settings of a command from the values that `gather` collected.

    Args:
      settings: class of the settings.
      values: values of its fields.
      file: file with some of them, for errors.

    Raises:
      MissingError: a required value is missing.
      InputError: a value is out of range, or a path is of the wrong kind.
    """
    missing = [
        fields.name(field)
        for field in dataclasses.fields(settings)
        if field.name not in values
    ]
    source = f" Values not given by flags are from {file}." if file else ""
    if missing:
        raise MissingError(f"{' and '.join(missing)} must be given.{source}")
    try:
        made = settings(**values)
        checks.check_paths(made)
    except InputError as error:
        raise type(error)(f"{error}{source}") from error
    return made


def as_yaml(settings: type, values: Mapping) -> str:
    """Writes settings as YAML for `--config`, one line per flag.

    Args:
      settings: class of the settings.
      values: values of its fields, from `gather`.
    """
    import yaml

    rows = []
    for field in dataclasses.fields(settings):
        if field.metadata["help"] and field.name in values:
            value = values[field.name]
            # Lists are written in brackets, on one line.
            flow = None if isinstance(value, tuple) else False
            row = {field.name: list(value) if isinstance(value, tuple) else value}
            rows.append(yaml.safe_dump(row, default_flow_style=flow, width=10**6))
    return "".join(rows)


def of_run(folder: str) -> Training | None:
    """Reads the settings that a run was trained with; None if there is no run.

    Raises:
      InputError: they are damaged.
    """
    path = Path(folder, FILE)
    if not path.is_file():
        return None
    try:
        values = {**_read_file(Training, str(path)), "overwrite": False}
        # A stored size is never None.
        fields.read(values.get("size"), fields.Size, "size")
        return Training(**values)
    except (InputError, TypeError) as error:
        raise InputError(
            f"The settings of the run, {path}, are damaged or of another version "
            f"({error}). Train again with --overwrite."
        ) from error


def _recipe(settings: type, given: Mapping) -> dict:
    """Returns the settings of the recipe given; the notebook's are the defaults."""
    path = Path(__file__).parent / "recipes" / f"{given.get('recipe')}.yaml"
    return _read_file(settings, str(path)) if path.is_file() else {}


def _stored(settings: type, given: Mapping) -> dict:
    """Returns the settings stored in the folder that the command resumes."""
    for field in dataclasses.fields(settings):
        if field.metadata.get("resumes") and not given.get("overwrite"):
            stored = of_run(given[field.name]) if field.name in given else None
            return dataclasses.asdict(stored) if stored else {}
    return {}


def _read_file(settings: type, path: str) -> dict:
    hints = fields.hints(settings)
    renamed = {
        field.metadata.get("renamed_from"): field.name
        for field in dataclasses.fields(settings)
    }
    values = {}
    for key, value in _read_mapping(path).items():
        name = str(key).replace("-", "_")
        name = renamed.get(name, name)
        if name not in hints:
            raise InputError(
                f"{path}: unknown setting '{key}'.{did_you_mean(name, hints)} --help "
                "lists the settings of the command."
            )
        values[name] = fields.read(value, hints[name], f"'{key}' in {path}")
    return values


def _as_json(text: str):
    try:
        return json.loads(text)
    except ValueError:
        return None


def _read_mapping(path: str) -> dict:
    import yaml

    try:
        text = Path(path).read_text("utf-8")
        # JSON is YAML, too, but 1e-05 is text there.
        content = _as_json(text)
        if not content:
            # A few lines of them may stand for gigabytes.
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
                raise yaml.YAMLError("aliases, *name, are not accepted")
            content = yaml.safe_load(text)
        if isinstance(content, dict):
            content = checksums.without_checksum(content)
    except (yaml.YAMLError, *_MISTYPED) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not valid YAML or JSON ({reason}).") from error
    if content is not None and not isinstance(content, dict):
        raise InputError(
            f"{path} must hold names with values, one per line, such as 'epochs: 15'. "
            f"Received: {type(content).__name__}."
        )
    return content or {}
