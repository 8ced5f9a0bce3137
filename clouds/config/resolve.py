"""A command's settings from what was given: flags, a file, a run that goes on."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from clouds.config import fields
from clouds.config.training import Training
from clouds.errors import InputError, MissingError, did_you_mean

FILE = "config.json"
"""In a run's folder: what it was trained with."""


def from_flags(settings: type, flags: Mapping, file: str | None = None):
    """Makes a command's settings of its flags, and of a file.

    Args:
      settings: the class of the command's settings.
      flags: the fields that were given.
      file: YAML or JSON with others.

    Returns:
      The settings.

    Raises:
      InputError: see `gather`; or values are missing, or out of range.
    """
    return make(settings, gather(settings, flags, file), file)


def gather(settings: type, flags: Mapping, file: str | None = None) -> dict:
    """Collects the fields of a command's settings.

    Args:
      settings: the class of the command's settings.
      flags: the fields that were given; they win over the file.
      file: YAML or JSON with others, by the same names.

    Returns:
      All that are known, in their order: the defaults for what was not given, and
      for a training that goes on its own settings.

    Raises:
      InputError: a file or a run's own settings that cannot be read, a name that is
        none, or a value of another type.
    """
    hints = fields.hints(settings)
    of_file = _of_file(settings, file) if file else {}
    of_flags = {
        field.name: fields.read(
            flags[field.name], hints[field.name], fields.name(field)
        )
        for field in dataclasses.fields(settings)
        if field.name in flags
    }
    given = {**of_file, **of_flags}
    known = {
        field.name: field.default
        for field in dataclasses.fields(settings)
        if field.default is not dataclasses.MISSING or field.name in given
    }
    if settings is Training and "run" in given and not given.get("overwrite"):
        own = of_run(given["run"])
        known.update(dataclasses.asdict(own) if own else {})
    return {**known, **given}


def make(settings: type, known: Mapping, file: str | None = None):
    """Makes a command's settings of what `gather` collected.

    Args:
      settings: the class of the command's settings.
      known: its fields.
      file: where some of them are from, for the message.

    Raises:
      MissingError: one is missing.
      InputError: one is out of range, or a folder where a file is meant.
    """
    missing = [
        fields.name(field)
        for field in dataclasses.fields(settings)
        if field.name not in known
    ]
    place = f" What no flag gives is from {file}." if file else ""
    if missing:
        raise MissingError(f"{' and '.join(missing)} must be given.{place}")
    try:
        made = settings(**known)
        fields.check_paths(made)
    except InputError as error:
        raise type(error)(f"{error}{place}") from error
    return made


def as_yaml(settings: type, known: Mapping) -> str:
    """Writes settings as `--config` reads them.

    Args:
      settings: the class of the command's settings.
      known: their fields, as `gather` collects them.

    Returns:
      YAML, a line a flag.
    """
    import yaml

    rows = []
    for field in dataclasses.fields(settings):
        if field.metadata["help"] and field.name in known:
            value = known[field.name]
            # A list stands in its line, in brackets.
            flow = None if isinstance(value, tuple) else False
            row = {field.name: list(value) if isinstance(value, tuple) else value}
            rows.append(yaml.safe_dump(row, default_flow_style=flow, width=10**6))
    return "".join(rows)


def of_run(folder: str) -> Training | None:
    """Reads the settings that a run was trained with; None where there is no run.

    Raises:
      InputError: they are damaged.
    """
    path = Path(folder, FILE)
    if not path.is_file():
        return None
    try:
        known = {**_of_file(Training, str(path)), "overwrite": False}
        fields.read(known.get("size"), fields.Size, "size")
        return Training(**known)
    except (InputError, TypeError) as error:
        raise InputError(
            f"Settings must be as bin/train writes them. Received: {path}, damaged or "
            f"of another version ({error}). Train again with --overwrite."
        ) from error


def _of_file(settings: type, path: str) -> dict:
    hints = fields.hints(settings)
    renamed = {
        field.metadata.get("renamed_from"): field.name
        for field in dataclasses.fields(settings)
    }
    found = {}
    for key, value in _mapping(path).items():
        name = str(key).replace("-", "_")
        name = renamed.get(name, name)
        if name not in hints:
            raise InputError(
                f"Settings must be those of the command. Received: '{key}', in "
                f"{path}.{did_you_mean(name, hints)} --help lists them."
            )
        found[name] = fields.read(value, hints[name], f"'{key}' in {path}")
    return found


def _mapping(path: str) -> dict:
    import yaml

    try:
        text = Path(path).read_text("utf-8")
        found = json.loads(text) if path.endswith(".json") else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            f"Settings must be YAML, or JSON in a file named *.json. Received: {path} "
            f"({error}). Mend it."
        ) from error
    if found is not None and not isinstance(found, dict):
        raise InputError(
            "Settings must be names with values, a line each, such as 'epochs: 15'. "
            f"Received: {path}, which holds {type(found).__name__}."
        )
    return found or {}
