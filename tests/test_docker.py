import sys

import pytest
import yaml
from google.protobuf import text_format
from helpers.commands import ROOT, serving
from tensorflow_serving.config import model_server_config_pb2

from clouds.export import export

sys.path.insert(0, str(ROOT / "docker"))

import replay  # noqa: E402


def test_requests_by_grpc_are_answered_like_the_export_in_python(
    grpc_server, exported, capsys
):
    address, _ = grpc_server
    arguments = ["--grpc", address, "--model", str(exported)]
    assert replay.main(arguments) == 0, capsys.readouterr().out


def test_requests_by_rest_are_answered_by_bin_serve_like_in_python(
    exported, tmp_path, capsys
):
    with serving(exported, tmp_path / "log.txt") as (url, _):
        arguments = [url, "--model", str(exported)]
        assert replay.main(arguments) == 0, capsys.readouterr().out


def test_wrong_answers_are_faults(grpc_server, exported, capsys):
    address, service = grpc_server
    expected = replay.in_python(exported)

    def other(request):
        answer = expected(request)
        return {key: value[..., ::-1] for key, value in answer.items()}

    requests = replay.requests()
    assert replay.replay(lambda request: replay.over_grpc(address, request), other) > 0
    assert "differs from Python" in capsys.readouterr().out
    refused = replay.RefusedError("no")
    assert replay.fault(requests[0], refused, None) == "should be answered"
    bad = next(request for request in requests if not request.good)
    assert replay.fault(bad, expected(requests[0]), None) == "should be refused"
    service.failures = 1
    with pytest.raises(Exception, match="Try again"):
        replay.over_grpc(address, requests[0])


def test_the_compose_file_names_files_that_exist_or_that_the_export_writes(exported):
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
    serving = compose["services"]["serving"]
    mounted = dict(volume.rsplit(":", 2)[:2] for volume in serving["volumes"])
    places = {inside: outside for outside, inside in mounted.items()}
    files = [
        argument.partition("=")[2]
        for argument in serving["command"]
        if "_file=" in argument
    ]
    assert len(files) == 3
    for file in files:
        folder, _, name = file.rpartition("/")
        if folder == "/models/clouds":
            assert (exported / name).is_file()
        else:
            assert (ROOT / "docker" / places[file]).is_file()
    assert "${CLOUDS_MODEL" in places["/models/clouds"]


def test_containers_are_open_to_this_machine_only_and_limited():
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert int(service["user"].partition(":")[0]) > 0
        assert service["mem_limit"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        # A tag, so that a later release is not pulled by chance.
        assert ":" in service["image"] and not service["image"].endswith(":latest")
        assert all(volume.endswith(":ro") for volume in service["volumes"])


@pytest.mark.parametrize(
    ("known", "labels"),
    [([1], {"latest": 1}), ([1, 4, 9], {"latest": 9, "previous": 4})],
)
def test_the_official_classes_read_the_configuration_of_models(known, labels):
    text = export.models_config(known)
    read = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = read.model_config_list.config
    assert (model.name, model.base_path) == ("clouds", "/models/clouds")
    assert dict(model.version_labels) == labels
    assert set(model.model_version_policy.specific.versions) == set(labels.values())


def test_readers_learn_that_the_container_was_never_started():
    for name in ("README.md", "compose.yaml"):
        text = " ".join((ROOT / "docker" / name).read_text().split())
        assert "has never been started" in text
