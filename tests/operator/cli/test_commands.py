"""The CLI against a real local API: what a kubectl user types and reads."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click.testing
import http_balancer
import local_api
import pytest
import structlog.testing
import yaml
from ringmaster_operator import cli

Run = Callable[..., click.testing.Result]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[local_api.Server]:
    # The server logs in this very process, where click captures what is printed.
    with structlog.testing.capture_logs(), local_api.running(tmp_path) as running:
        yield running


@pytest.fixture
def run(server, tmp_path) -> Run:
    environment = {"RINGMASTER_SERVER": server.url, "RINGMASTER_STATE_DIR": str(tmp_path / "s")}

    def run(*words: str, text: str | None = None) -> click.testing.Result:
        runner = click.testing.CliRunner(env=environment)
        return runner.invoke(cli.main, list(words), input=text)

    return run


@pytest.fixture
def web(server) -> dict[str, Any]:
    answer = server.post(local_api.server_set())
    answer.raise_for_status()
    return answer.json()


def file(tmp_path: Path, *documents: dict[str, Any]) -> str:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


@pytest.mark.parametrize("command", ["apply", "delete"])
def test_a_path_that_cannot_be_looked_at_is_said_in_one_line(run, command) -> None:
    path = "x" * 300
    done = run(command, "-f", path)
    said = f'error: "{path}" cannot be read: File name too long\n'
    assert (done.exit_code, done.output) == (1, said)


def test_apply_says_created_unchanged_configured(run, tmp_path) -> None:
    path = file(tmp_path, local_api.server_set())
    said = [run("apply", "-f", path).output for _ in range(2)]
    file(tmp_path, local_api.server_set(replicas=4))
    said.append(run("apply", "-f", path).output)
    assert said == [
        "serverset.ringmaster.dev/web created\n",
        "serverset.ringmaster.dev/web unchanged\n",
        "serverset.ringmaster.dev/web configured\n",
    ]


def test_apply_shows_what_the_server_warns_of(run, tmp_path) -> None:
    many = local_api.server_set(replicas=90, maxReplicas=200, ring={"slots": 512})
    path = file(tmp_path, many)
    for _ in range(2):
        done = run("apply", "-f", path)
        assert done.stderr == (
            "Warning: spec.ring.slots: 512 slots for 90 replicas are fewer than 650 each: "
            "shares will be uneven\n"
        )
        assert "serverset.ringmaster.dev/web" in done.stdout
        file(tmp_path, {**many, "spec": {**many["spec"], "paused": True}})


def test_apply_reads_many_documents_from_standard_input(run) -> None:
    text = yaml.safe_dump_all([local_api.server_set("a"), local_api.server_set("b")])
    assert run("apply", "-f", "-", text=text).output.count("created") == 2


def test_apply_into_a_namespace(run, server, tmp_path) -> None:
    run("apply", "-n", "prod", "-f", file(tmp_path, local_api.server_set()))
    assert server.store.get("prod", "web") is not None


def test_a_dry_run_changes_nothing(run, server, tmp_path) -> None:
    done = run("apply", "--dry-run=server", "-f", file(tmp_path, local_api.server_set()))
    assert done.output == "serverset.ringmaster.dev/web created (server dry run)\n"
    assert server.store.get("default", "web") is None


def test_what_the_server_alone_refuses_is_told_with_its_file(run, tmp_path) -> None:
    """As kubectl: `Error from server (Invalid): error when creating "web.yaml"`."""
    server_set = local_api.server_set()
    server_set["metadata"]["finalizers"] = ["example.org/kept"]
    path = file(tmp_path, server_set)
    done = run("apply", "-f", path)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error from server (Invalid): ")
    assert done.stderr.endswith(f" ({path}:1)\n")


def test_all_faults_come_at_once_and_nothing_is_applied(run, server, tmp_path) -> None:
    bad = local_api.server_set("bad", replicas=-1, surprise=1, minReadySeconds="soon")
    done = run("apply", "-f", file(tmp_path, local_api.server_set("good"), bad))
    assert done.exit_code == 1
    for path in ("spec.replicas", "spec.surprise", "spec.minReadySeconds"):
        assert f"* bad: {path}: " in done.stderr
    assert done.stderr.count(f"({tmp_path}/") == 3
    assert server.store.get("default", "good") is None


def test_what_only_the_server_can_refuse_is_said_in_its_words(run, web, tmp_path) -> None:
    other = local_api.server_set()
    other["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    other["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    done = run("apply", "-f", file(tmp_path, other))
    assert done.exit_code == 1
    assert done.stderr.startswith("Error from server (Invalid): ")
    assert "spec.selector" in done.stderr


@pytest.mark.parametrize(
    "words", [(), ("serversets",), ("sset",), ("serverset", "web"), ("serverset/web",), ("web",)]
)
def test_get_shows_a_table_however_it_is_asked_for(run, web, words) -> None:
    done = run("get", *words)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].split() == ["NAME", "DESIRED", "READY", "AVAILABLE", "IN-RING", "AGE"]
    assert [line.split()[0] for line in lines[1:]] == ["web"]


def test_get_in_other_forms(run, web) -> None:
    assert yaml.safe_load(run("get", "web", "-o", "yaml").output)["metadata"]["name"] == "web"
    assert json.loads(run("get", "-o", "json").output)["kind"] == "List"
    assert run("get", "-o", "name").output == "serverset.ringmaster.dev/web\n"
    assert "SELECTOR" in run("get", "-o", "wide").output


def test_get_selects_by_label_and_namespace(run, server) -> None:
    server.post(local_api.server_set("a"))
    server.post(
        local_api.server_set("b"), path=local_api.SETS.replace("/default/", "/prod/")
    ).raise_for_status()
    assert run("get", "-l", "tier=a", "-o", "name").output.count("serverset") == 1
    assert "No resources found in default namespace." in run("get", "-l", "tier=b").stderr
    assert run("get", "-A").output.split()[:2] == ["NAMESPACE", "NAME"]
    assert run("get", "-n", "prod", "-o", "name").output == "serverset.ringmaster.dev/b\n"


def test_nothing_found_is_no_failure(run) -> None:
    done = run("get")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "No resources found in default namespace.\n"


@pytest.mark.parametrize("verb", ["get", "describe", "delete"])
def test_a_missing_one_is_said_as_kubectl_says_it(run, verb: str) -> None:
    done = run(verb, "serverset", "x")
    assert done.exit_code == 1
    assert done.stderr == (
        'Error from server (NotFound): serversets.ringmaster.dev "x" not found\n'
    )


def test_an_unknown_type_is_said_as_kubectl_says_it(run) -> None:
    done = run("get", "pods/x")
    assert done.exit_code == 1
    assert done.stderr == 'error: the server doesn\'t have a resource type "pods"\n'


def test_scale_sets_the_count(run, server, web) -> None:
    done = run("scale", "serverset/web", "--replicas=5")
    assert done.output == "serverset.ringmaster.dev/web scaled\n"
    assert server.store.get("default", "web")["spec"]["replicas"] == 5


def test_nothing_is_scaled_where_no_operator_answers(run) -> None:
    with http_balancer.HttpBalancer().running() as other:
        other.answers["PATCH"] = (200, b"{}", {})
        done = run("scale", "web", "--replicas=5", "-s", other.url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"what answers at {other.url} is no operator: its answer has no `kind`" in done.stderr


def test_scale_with_a_precondition_that_does_not_hold_changes_nothing(run, server, web) -> None:
    done = run("scale", "web", "--current-replicas=4", "--replicas=5")
    assert (done.exit_code, done.stderr) == (1, "error: Expected replicas to be 4, was 3\n")
    assert run("scale", "web", "--current-replicas=3", "--replicas=5").exit_code == 0
    assert server.store.get("default", "web")["spec"]["replicas"] == 5


def test_describe_shows_status_replicas_and_template(run, server, web) -> None:
    server.replicas.seen = [local_api.view("S5")]
    done = run("describe", "serverset/web")
    assert done.exit_code == 0, done.output
    for part in ("Name:                 web", "3 desired", "S5", "ringmaster-server", "Events:"):
        assert part in done.output


def test_delete_waits_until_the_set_is_gone(run, server, web) -> None:
    marked = threading.Event()

    def forget(change: Any) -> None:
        if change.document["metadata"].get("deletionTimestamp") and not marked.is_set():
            marked.set()
            threading.Timer(0.3, server.forget, args=(change.document,)).start()

    server.store.subscribe(forget)
    done = run("delete", "serverset/web")
    assert done.output == 'serverset.ringmaster.dev "web" deleted\n'
    assert server.store.get("default", "web") is None


def test_delete_that_takes_too_long_says_so(run, web) -> None:
    done = run("delete", "web", "--timeout=0")
    assert done.exit_code == 1
    assert "timed out waiting" in done.stderr
    assert run("delete", "web", "--no-wait").exit_code == 0


def test_delete_by_file(run, server, web, tmp_path) -> None:
    assert run("delete", "-f", file(tmp_path, web), "--no-wait").exit_code == 0
    assert server.store.get("default", "web")["metadata"]["deletionTimestamp"]


def test_wait_returns_when_the_condition_is_met(run, server, web) -> None:
    def ready(now: dict[str, Any]) -> dict[str, Any]:
        return now | {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}

    timer = threading.Timer(0.3, server.store.update_status, args=("default", "web", ready))
    timer.start()
    done = run("wait", "serverset/web", "--for=condition=Ready")
    timer.join()
    assert done.output == "serverset.ringmaster.dev/web condition met\n"


def test_wait_is_not_content_with_what_was_true_of_an_earlier_spec(run, server, web) -> None:
    def ready(generation: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
        told = {"type": "Ready", "status": "True", "observedGeneration": generation}
        return lambda now: now | {"status": {"conditions": [told]}}

    server.store.update_status("default", "web", ready(1))
    assert run("scale", "web", "--replicas=5").exit_code == 0
    done = run("wait", "web", "--for=condition=Ready", "--timeout=0")
    assert done.exit_code == 1
    assert "Ready is True, of an earlier generation" in done.stderr
    server.store.update_status("default", "web", ready(2))
    assert run("wait", "web", "--for=condition=Ready", "--timeout=0").exit_code == 0


def test_wait_in_vain_exits_1_and_for_nonsense_too(run, web) -> None:
    assert run("wait", "web", "--for=condition=Ready", "--timeout=0").exit_code == 1
    assert "unrecognized condition" in run("wait", "web", "--for=love").stderr


@pytest.mark.parametrize(
    "words",
    [
        ("scale", "web"),
        ("scale", "web", "--replicas=-1"),
        ("apply",),
        ("delete",),
        ("get", "web", "-A"),
        ("get", "a", "b", "-w"),
        ("nonsense",),
    ],
)
def test_bad_usage_exits_2(run, words) -> None:
    assert run(*words).exit_code == 2


def test_a_server_that_is_not_there_is_one_line_that_says_how_to_start_it(tmp_path) -> None:
    words = ["--server", "http://127.0.0.1:1", "--state-dir", str(tmp_path), "get"]
    done = click.testing.CliRunner().invoke(cli.main, words)
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "`ringmaster up` starts one" in done.stderr


@pytest.mark.parametrize("command", sorted(cli.main.commands))
def test_every_command_has_its_help(run, command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    if command != "version":
        assert f"Examples:\n    ringmaster {command}" in done.output


def test_version_is_the_packages(run) -> None:
    assert run("version").output == run("--version").output
