"""The CLI and its way to a server: loopback, TLS, and what the state folder knows of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click.testing
import local_api
import psutil
import pytest
import structlog.testing
import yaml
from ringmaster_operator import cli, client, errors, statedir
from ringmaster_operator.api import certificates
from ringmaster_operator.cli import endpoint
from ringmaster_operator.up import children


@pytest.fixture
def state(tmp_path: Path) -> statedir.StateDir:
    made = statedir.StateDir(tmp_path / "state")
    made.prepare()
    return made


@pytest.fixture
def secured(state, tmp_path) -> Iterator[local_api.Server]:
    """An API with TLS, whose operator says in the state folder how to reach it."""
    certificate = certificates.Certificate(state.tls, ["127.0.0.1"])
    token_file = tmp_path / "api-token"
    token_file.write_text("s3cret")
    with (
        structlog.testing.capture_logs(),
        local_api.running(tmp_path, token="s3cret", tls=certificate) as server,
    ):
        record = {"url": server.url, "names": [server.url], "tokenFile": str(token_file)}
        state.api_file.write_text(json.dumps(record))
        yield server


def run(state: statedir.StateDir, *words: str) -> click.testing.Result:
    runner = click.testing.CliRunner(env={"RINGMASTER_SERVER": None})
    return runner.invoke(cli.main, ["--state-dir", str(state.root), *words])


def test_the_server_is_that_of_the_state_folder_while_it_runs(state) -> None:
    assert endpoint.server_of(state) == "http://127.0.0.1:7070"
    state.api_file.write_text('{"url": "https://127.0.0.1:7272"}')
    assert endpoint.server_of(state) == "https://127.0.0.1:7272"
    order = children.Order(name="operator", argv=(), ports=(7171,))
    children.write_record(state, order, psutil.Process())
    assert endpoint.server_of(state) == "http://127.0.0.1:7171"


def test_what_a_server_asks_for_is_found_in_the_state_folder(state, tmp_path) -> None:
    def found(token_file: Path | None = None) -> client.Credentials:
        return endpoint.credentials_of(state, authority=None, token_file=token_file)

    assert found() == client.Credentials(authority=None, token=None)
    certificates.Certificate(state.tls, [])
    state.token_file.write_text("own")
    assert found() == client.Credentials(authority=state.tls / "ca.crt", token="own")
    (tmp_path / "other").write_text("other")
    assert found(tmp_path / "other").token == "other"
    with pytest.raises(errors.UsageError, match="there is no token file"):
        found(tmp_path / "missing")


def test_on_the_operators_machine_no_word_about_tls_is_needed(state, secured) -> None:
    done = run(state, "get")
    assert (done.exit_code, done.stderr) == (0, "No resources found in default namespace.\n")


def test_elsewhere_authority_and_token_are_named(state, secured, tmp_path) -> None:
    other = statedir.StateDir(tmp_path / "elsewhere")
    known = ("--certificate-authority", str(state.tls / "ca.crt"))
    bearer = ("--token-file", str(tmp_path / "api-token"))
    server = ("--server", secured.url)
    assert run(other, "get", *server, *known, *bearer).exit_code == 0
    refused = run(other, "get", *server, *known)
    assert (refused.exit_code, refused.stderr) == (
        1,
        "Error from server (Unauthorized): Unauthorized\n",
    )
    doubted = run(other, "get", *server, *bearer)
    assert doubted.exit_code == 1
    assert "is not trusted: --certificate-authority names" in doubted.stderr
    assert "Traceback" not in doubted.output


def test_a_token_is_never_sent_in_the_clear(tmp_path) -> None:
    with structlog.testing.capture_logs(), local_api.running(tmp_path, token="s3cret") as server:
        made = client.Client(server.url, client.Credentials(token="s3cret"))
        with pytest.raises(client.ServerError, match="Unauthorized"):
            made.get("default", "web")
        made.close()


def test_kubeconfig_prints_what_kubectl_needs(state, secured, tmp_path) -> None:
    document = yaml.safe_load(run(state, "kubeconfig", "-n", "prod").stdout)
    cluster = document["clusters"][0]["cluster"]
    assert cluster["server"] == secured.url
    assert "certificate-authority-data" in cluster
    assert document["users"][0]["user"]["token"] == "s3cret"
    assert document["contexts"][0]["context"]["namespace"] == "prod"
    path = tmp_path / "config"
    assert run(state, "kubeconfig", "-o", str(path), "--server", "https://lb:1").output == ""
    assert yaml.safe_load(path.read_text())["clusters"][0]["cluster"]["server"] == "https://lb:1"


def test_kubeconfig_without_tls_names_the_server_alone(state) -> None:
    document = yaml.safe_load(run(state, "kubeconfig").stdout)
    assert document["clusters"][0]["cluster"] == {"server": "http://127.0.0.1:7070"}
    assert document["users"][0]["user"] == {}


def test_kubeconfig_without_a_token_says_so(state) -> None:
    done = run(state, "kubeconfig", "--server", "https://lb:7070")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "--token-file names it" in done.stderr
