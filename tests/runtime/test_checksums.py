import json
import subprocess

import pytest

from clouds.runtime import checksums

FIELDS = {"a": 1, "rates": [1e-05, 0.1 + 0.2], "ä": {"b": None, "c": "x" * 10}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.json"
    checksums.write_json(path, FIELDS)
    return path


def test_fields_are_read_as_they_were_written(path):
    assert checksums.read_json(path) == FIELDS
    assert list(json.loads(path.read_text())) == [*FIELDS, "checksum"]
    assert path.read_text().endswith("}\n")


def test_every_flipped_bit_is_reported_or_without_effect(path):
    whole = path.read_bytes()
    for place in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            fields = checksums.read_json(path)
        except ValueError:
            continue
        # A checksum under another name is an unknown field.
        assert {name: fields[name] for name in FIELDS} == FIELDS, place


def test_a_file_without_a_checksum_or_in_another_order_is_read(path):
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(fields.items()))))
    assert checksums.read_json(path) == FIELDS
    del fields["checksum"]
    path.write_text(json.dumps(fields | {"a": 2}))
    assert checksums.read_json(path) == FIELDS | {"a": 2}


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"\xff{}", "codec can't decode"),
        (b"[1]", "a list instead of an object"),
        (b'{"a":' + b"[" * 100_000, "too many nested brackets"),
        (b'{"a": 1, "checksum": "0"}', "do not match its checksum; if you edited it"),
        (b'{"a": 1, "checksum": null}', "do not match its checksum"),
    ],
)
def test_what_is_no_object_or_has_changed_is_refused(path, contents, reason):
    path.write_bytes(contents)
    with pytest.raises(ValueError, match=reason):
        checksums.read_json(path)


def test_changed_and_missing_files_of_a_folder_are_reported(tmp_path):
    checksums.check_list(tmp_path)
    (tmp_path / "variables").mkdir()
    names = "saved_model.pb", "variables/index", "variables/data"
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    checksums.write_list(tmp_path)
    checksums.check_list(tmp_path)
    command = ["sha256sum", "--check", "--strict", str(checksums.LIST)]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for name in names:
        (tmp_path / name).write_bytes(b"other")
        with pytest.raises(ValueError, match=f"{name} has changed"):
            checksums.check_list(tmp_path)
        (tmp_path / name).unlink()
        with pytest.raises(ValueError, match=f"{name} is missing"):
            checksums.check_list(tmp_path)
        (tmp_path / name).write_bytes(name.encode())


def test_a_file_is_compared_with_the_checksum_beside_it(tmp_path):
    path = tmp_path / "a.npy"
    assert not checksums.is_intact(path)
    path.write_bytes(b"abc")
    assert not checksums.is_intact(path)
    checksums.write_beside(path)
    assert checksums.is_intact(path)
    path.write_bytes(b"abd")
    assert not checksums.is_intact(path)
