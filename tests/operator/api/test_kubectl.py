"""The real kubectl against the local API: the foreign witness that it has Kubernetes' shape."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click.testing
import engines
import local_api
import pytest
import structlog
import yaml
from kubectl_tool import Kubectl
from local_api import SETS, server_set
from ringmaster_operator import cli, observed, statedir
from ringmaster_operator.api import certificates
from ringmaster_operator.cli import endpoint, kubeconfig

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(scope="module")
def installed() -> None:
    engines.require("kubectl")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[local_api.Server]:
    with local_api.running(tmp_path) as running:
        yield running


@pytest.fixture
def kubectl(server: local_api.Server, tmp_path: Path) -> Kubectl:
    return Kubectl(tmp_path, (f"--server={server.url}",))


def owner(document: dict[str, Any]) -> observed.Owner:
    return observed.Owner("default", document["metadata"]["name"], document["metadata"]["uid"])


def live(server: local_api.Server) -> dict[str, Any]:
    document: dict[str, Any] = server.get(f"{SETS}/web")
    return document


def when(
    server: local_api.Server, happens: Callable[[Any], bool], then: Callable[[], None]
) -> None:
    """Act in a thread of its own once a write is of the kind that is waited for."""
    done = threading.Event()

    def look(change: Any) -> None:
        if happens(change) and not done.is_set():
            done.set()
            threading.Thread(target=then).start()

    server.store.subscribe(look)


def test_apply_creates_leaves_and_configures(kubectl: Kubectl, server: local_api.Server) -> None:
    document = server_set()
    assert kubectl.apply(document) == "serverset.ringmaster.dev/web created\n"
    assert kubectl.apply(document) == "serverset.ringmaster.dev/web unchanged\n"
    document["spec"] |= {"replicas": 5, "drainSeconds": 1}
    assert kubectl.apply(document) == "serverset.ringmaster.dev/web configured\n"
    del document["spec"]["drainSeconds"]
    kubectl.apply(document)
    assert live(server)["spec"] == document["spec"]


def test_kubectl_and_ringmaster_apply_the_same_file_in_turns_and_nothing_changes(
    kubectl: Kubectl, server: local_api.Server, tmp_path: Path
) -> None:
    document = server_set()
    document["metadata"]["annotations"] = {"who": 'Zoë <z@example.org> & \u2028\t"\\\b\x7f😀'}
    path = tmp_path / "web.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    environment = {"RINGMASTER_SERVER": server.url, "RINGMASTER_STATE_DIR": str(tmp_path / "s")}
    runner = click.testing.CliRunner(env=environment)

    def ours() -> str:
        with structlog.testing.capture_logs():  # the server's log goes elsewhere
            return runner.invoke(cli.main, ["apply", "-f", str(path)]).stdout

    def theirs() -> str:
        return kubectl.run("apply", "-f", str(path))

    for first, second in ((ours, theirs), (theirs, ours)):
        assert first() == "serverset.ringmaster.dev/web created\n"
        version = live(server)["metadata"]["resourceVersion"]
        assert [second(), first()] == ["serverset.ringmaster.dev/web unchanged\n"] * 2
        assert live(server)["metadata"]["resourceVersion"] == version
        server.store.forget(owner(server.store.delete("default", "web")))


def test_apply_shows_every_fault(kubectl: Kubectl) -> None:
    said = kubectl.apply(server_set(replicas=-1, color="red"), code=1)
    assert 'The ServerSet "web" is invalid' in said
    assert "* spec.replicas: must be at least 0, not -1" in said
    assert "* spec.color: unknown field" in said


def test_apply_prints_warnings(kubectl: Kubectl) -> None:
    assert "Warning: spec.balancer: neither selector nor urls" in kubectl.apply(
        server_set(balancer={})
    )


def test_a_dry_run_and_a_diff_write_nothing(kubectl: Kubectl, server: local_api.Server) -> None:
    document = server_set()
    assert "created (server dry run)" in kubectl.apply(document, "--dry-run=server")
    assert server.get()["items"] == []
    kubectl.apply(document)
    document["spec"]["replicas"] = 8
    before = live(server)
    shown = kubectl.run("diff", "-f", "-", code=1, stdin=yaml.safe_dump(document))
    assert "-  replicas: 3\n+  replicas: 8\n" in shown
    assert live(server) == before


def test_get_shows_tables_and_documents(kubectl: Kubectl, server: local_api.Server) -> None:
    kubectl.apply(server_set())
    server.store.write_status(owner(live(server)), {"readyReplicas": 2, "selector": "app=web"})
    for words in (("serversets",), ("sset", "web"), ("all",), ("serverset/web",)):
        heading, row = kubectl.run("get", *words).splitlines()[:2]
        assert heading.split() == ["NAME", "DESIRED", "READY", "AVAILABLE", "IN-RING", "AGE"]
        assert row.split()[:3][-2:] == ["3", "2"]
    assert "SELECTOR" in kubectl.run("get", "sset", "-o", "wide")
    assert kubectl.run("get", "sset", "-A").splitlines()[1].split()[:2] == ["default", "web"]
    assert yaml.safe_load(kubectl.run("get", "sset", "web", "-o", "yaml")) == live(server)
    assert json.loads(kubectl.run("get", "sset", "-o", "json"))["items"] == [live(server)]
    assert kubectl.run("get", "sset", "-o", "name") == "serverset.ringmaster.dev/web\n"
    assert kubectl.run("get", "sset", "-o", "jsonpath={.items[*].spec.replicas}") == "3"
    assert "No resources found" in kubectl.run("get", "sset", "-l", "tier=none")
    assert "No resources found" in kubectl.run("get", "sset", "-n", "other")
    said = kubectl.run("get", "sset", "nothing", code=1)
    assert said == ('Error from server (NotFound): serversets.ringmaster.dev "nothing" not found\n')


def test_get_watches(kubectl: Kubectl, server: local_api.Server) -> None:
    kubectl.apply(server_set())
    process = subprocess.Popen(
        # Of a list: of one object kubectl skips what it saw first, with a change just before.
        kubectl.command("get", "sset", "-w", "--output-watch-events"),
        env=kubectl.env(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().split()[:3] == ["EVENT", "NAME", "DESIRED"]
        assert process.stdout.readline().split()[:3] == ["ADDED", "web", "3"]
        server.patch({"spec": {"replicas": 5}})
        assert process.stdout.readline().split()[:3] == ["MODIFIED", "web", "5"]
        server.forget(server.call("DELETE", f"{SETS}/web").json())
        assert process.stdout.readline().split()[:2] == ["MODIFIED", "web"]
        assert process.stdout.readline().split()[:2] == ["DELETED", "web"]
    finally:
        process.kill()
        process.communicate()


def test_scale_scales(kubectl: Kubectl, server: local_api.Server) -> None:
    kubectl.apply(server_set())
    said = kubectl.run("scale", "serverset/web", "--replicas=5")
    assert said == "serverset.ringmaster.dev/web scaled\n"
    kubectl.run("scale", "sset", "web", "--replicas=6", "--current-replicas=5")
    assert live(server)["spec"]["replicas"] == 6
    said = kubectl.run("scale", "sset", "web", "--replicas=7", "--current-replicas=5", code=1)
    assert "Expected replicas to be 5, was 6" in said
    assert "is invalid" in kubectl.run("scale", "sset", "web", "--replicas=1000", code=1)


def test_metadata_and_spec_are_patched(kubectl: Kubectl, server: local_api.Server) -> None:
    kubectl.apply(server_set())
    kubectl.run("annotate", "sset", "web", "note=a")
    kubectl.run("label", "sset", "web", "tier=b", "--overwrite")
    kubectl.run("label", "sset", "--all", "more=c")
    kubectl.run("patch", "sset", "web", "--type=merge", "-p", '{"spec":{"replicas":4}}')
    operation = '[{"op":"add","path":"/spec/drainSeconds","value":1}]'
    kubectl.run("patch", "sset", "web", "--type=json", "-p", operation)
    status = '{"status":{"conditions":[{"type":"Theirs","status":"True"}]}}'
    kubectl.run("patch", "sset", "web", "--subresource=status", "--type=merge", "-p", status)
    now = live(server)
    assert now["metadata"]["annotations"]["note"] == "a"
    assert now["metadata"]["labels"] == {"tier": "b", "more": "c"}
    assert (now["spec"]["replicas"], now["spec"]["drainSeconds"]) == (4, 1)
    assert now["status"]["conditions"][0]["type"] == "Theirs"
    said = kubectl.run("patch", "sset", "web", "-p", '{"spec":{"replicas":4}}', code=1)
    assert "application/strategic-merge-patch+json is not supported" in said
    assert "Server-side apply not available" in kubectl.apply(server_set(), "--server-side", code=1)


def test_edit_edits(kubectl: Kubectl, server: local_api.Server) -> None:
    kubectl.apply(server_set())
    edited = kubectl.run("edit", "sset", "web", KUBE_EDITOR="sed -i s/replicas:.3/replicas:\\ 6/")
    assert "edited" in edited
    assert live(server)["spec"]["replicas"] == 6


def test_create_and_replace(kubectl: Kubectl, server: local_api.Server) -> None:
    text = yaml.safe_dump(server_set())
    assert "created" in kubectl.run("create", "-f", "-", stdin=text)
    assert "already exists" in kubectl.run("create", "-f", "-", stdin=text, code=1)
    text = yaml.safe_dump(server_set(replicas=9))
    assert "replaced" in kubectl.run("replace", "-f", "-", stdin=text)
    assert live(server)["spec"]["replicas"] == 9


def test_wait_sees_a_condition_come_true(kubectl: Kubectl, server: local_api.Server) -> None:
    kubectl.apply(server_set())
    key = owner(live(server))
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    when(
        server,
        lambda change: change.document["metadata"].get("annotations", {}).get("go") == "on",
        lambda: server.store.write_status(key, ready),
    )
    process = subprocess.Popen(
        kubectl.command("wait", "--for=condition=Ready", "sset/web", "--timeout=50s"),
        env=kubectl.env(),
        stdout=subprocess.PIPE,
        text=True,
    )
    server.patch({"metadata": {"annotations": {"go": "on"}}})
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "serverset.ringmaster.dev/web condition met\n")


def test_delete_waits_until_the_set_is_gone(kubectl: Kubectl, server: local_api.Server) -> None:
    kubectl.apply(server_set())
    key = owner(live(server))
    when(
        server,
        lambda change: "deletionTimestamp" in change.document["metadata"],
        lambda: server.store.forget(key),
    )
    assert kubectl.run("delete", "sset", "web") == 'serverset.ringmaster.dev "web" deleted\n'
    assert server.get()["items"] == []
    assert "NotFound" in kubectl.run("delete", "sset", "web", code=1)
    kubectl.run("delete", "sset", "web", "--ignore-not-found")


def test_describe_shows_spec_status_and_events(kubectl: Kubectl, server: local_api.Server) -> None:
    kubectl.apply(server_set())
    key = owner(live(server))
    server.store.write_status(key, {"readyReplicas": 3})
    for _ in range(2):
        server.store.event(key, kind="Normal", reason="Created", message="web-0-x7k2p: scale-up")
    shown = kubectl.run("describe", "sset", "web")
    assert "Ready Replicas:  3" in shown
    assert "Created" in shown
    assert "(x2 over" in shown
    assert "web-0-x7k2p: scale-up" in shown
    listed = kubectl.run("get", "events")
    assert listed.splitlines()[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert "web-0-x7k2p" in kubectl.run("events", "--for", "serverset/web")


def test_explain_knows_the_fields(kubectl: Kubectl) -> None:
    assert "How many replicas shall serve." in kubectl.run("explain", "serverset.spec.replicas")
    recursive = kubectl.run("explain", "sset", "--recursive")
    for field in ("drainSeconds", "maxSurge", "containers", "conditions"):
        assert field in recursive
    assert "lastTimestamp" in kubectl.run("explain", "events")


def test_with_a_kubeconfig_it_speaks_tls_and_bears_the_token(tmp_path: Path) -> None:
    state = statedir.StateDir(tmp_path / "state")
    state.prepare()
    state.token()
    certificate = certificates.Certificate(state.tls, ["127.0.0.1"])
    with local_api.running(tmp_path, token=state.token(), tls=certificate) as server:
        text = endpoint.kubeconfig(
            state,
            server=server.url,
            credentials=endpoint.credentials_of(state, authority=None, token_file=None),
            namespace="prod",
        )
        config = tmp_path / "config"
        kubeconfig.write(config, text)

        kubectl = Kubectl(tmp_path, (f"--kubeconfig={config}",))
        assert kubectl.apply(server_set()) == "serverset.ringmaster.dev/web created\n"
        assert kubectl.run("get", "sset", "-o", "name") == "serverset.ringmaster.dev/web\n"
        assert server.store.get("prod", "web") is not None
        doubting = Kubectl(tmp_path, (f"--server={server.url}", "--token=x"))
        said = doubting.run("get", "sset", code=1)
        assert "certificate signed by unknown authority" in said


def test_discovery_lists_what_there_is(kubectl: Kubectl) -> None:
    rows = [line.split() for line in kubectl.run("api-resources").splitlines()]
    assert ["serversets", "sset", "ringmaster.dev/v1alpha1", "true", "ServerSet"] in rows
    assert kubectl.run("api-versions").splitlines() == ["ringmaster.dev/v1alpha1", "v1"]
    assert "ringmaster" in kubectl.run("version")
    assert kubectl.run("get", "--raw", "/readyz") == "ok"
