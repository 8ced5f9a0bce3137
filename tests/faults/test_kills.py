"""The short form; the long one is `python tests/faults/kills.py`."""

import pytest
from faults import kills


@pytest.fixture(scope="module")
def workspace(smooth_network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    kills.make(folder)
    return folder


@pytest.mark.parametrize("title", ["evaluate", "report", "describe", "make_scenes"])
def test_a_killed_command_ends_as_one_that_was_not(workspace, title):
    kind = kills.kinds(workspace, "")[title]
    _, different = kills.tried(kind, workspace, kills=1)
    assert different == 0


def test_a_request_goes_on_after_kills_of_client_and_server(workspace):
    server = kills.Server(workspace / "model")
    kind = kills.kinds(workspace, server.url)["request"]
    assert kills.tried(kind, workspace, kills=1)[1] == 0
    assert kills.tried_server(kind, server, workspace, kills=1)[1] == 0
    server.command.kill()
