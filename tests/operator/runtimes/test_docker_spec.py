from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from ringmaster_operator import naming, observed
from ringmaster_operator.runtimes import docker_spec

PLACE = docker_spec.Place(network="servers", cpus=2.0)


def template(**container: Any) -> dict[str, Any]:
    first = {"name": "server", "image": "ringmaster/server:0.1.0", **container}
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [first]}}


def birth(**container: Any) -> observed.Birth:
    return observed.Birth(
        owner=observed.Owner(namespace="default", name="web", uid="u-1"),
        name="web-2-x7k2p",
        display_name="S5",
        member_id="web-2",
        ordinal=2,
        attempt=1,
        reason=observed.Reason.SCALE_UP,
        revision="abc",
        template=template(**container),
    )


def body(place: docker_spec.Place = PLACE, **container: Any) -> dict[str, Any]:
    return docker_spec.create(birth(**container), place, image_labels={})


def test_what_the_template_says_is_what_the_container_gets() -> None:
    made = body(
        command=["serve", "--id=$(SERVER_ID)"],
        args=["--port", "$(PORT)"],
        env=[{"name": "PORT", "value": "8080"}],
        workingDir="/srv",
        ports=[{"name": "http", "containerPort": 8080}, {"containerPort": 9090}],
        resources={"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"memory": "1Gi"}},
    )
    assert made["Image"] == "ringmaster/server:0.1.0"
    assert made["Entrypoint"] == ["serve", "--id=S5"]
    assert made["Cmd"] == ["--port", "8080"]
    assert made["Env"] == ["SERVER_ID=S5", "PORT=8080"]
    assert made["WorkingDir"] == "/srv"
    assert made["ExposedPorts"] == {"8080/tcp": {}, "9090/tcp": {}}
    limits = {name: made["HostConfig"][name] for name in ("Memory", "MemorySwap", "NanoCpus")}
    assert limits == {"Memory": 64 << 20, "MemorySwap": 64 << 20, "NanoCpus": 500_000_000}


def test_the_image_decides_where_the_template_is_silent() -> None:
    assert not {"Entrypoint", "Cmd", "WorkingDir"} & set(body())
    assert "Cmd" not in body(command=["serve"])  # a command of its own takes no words of the image
    assert "Entrypoint" not in body(args=["--help"])
    assert not {"Memory", "NanoCpus"} & set(body()["HostConfig"])


def test_the_operator_owns_restarts_health_and_the_network() -> None:
    made = body()
    assert made["HostConfig"]["RestartPolicy"] == {"Name": "no"}
    assert made["Healthcheck"] == {"Test": ["NONE"]}
    assert made["HostConfig"]["NetworkMode"] == "servers"
    assert made["NetworkingConfig"] == {"EndpointsConfig": {"servers": {}}}
    assert "PortBindings" not in made["HostConfig"]


def test_logs_are_bounded_where_the_driver_bounds_nothing_by_itself() -> None:
    logs = body(docker_spec.Place(log_driver="json-file"))["HostConfig"]["LogConfig"]
    assert logs == {"Type": "json-file", "Config": {"max-size": "16m", "max-file": "2"}}
    assert "LogConfig" not in body(docker_spec.Place(log_driver="local"))["HostConfig"]


def test_more_cpu_than_the_machine_has_limits_nothing() -> None:
    assert "NanoCpus" not in body(resources={"limits": {"cpu": "2"}})["HostConfig"]
    unknown = docker_spec.Place()
    assert body(unknown, resources={"limits": {"cpu": "2"}})["HostConfig"]["NanoCpus"] == 2 * 10**9


def test_labels_tell_whose_it_is_and_how_it_is_probed() -> None:
    probe = {"httpGet": {"path": "/heartbeat", "port": "http"}, "periodSeconds": 3}
    made = body(
        ports=[{"name": "http", "containerPort": 8080}],
        readinessProbe=probe,
        env=[{"name": "PASSWORD", "value": "secret"}],
    )
    identity = naming.identity(made["Labels"])
    assert identity is not None
    assert (identity.owner, identity.member_id) == (birth().owner, "web-2")
    assert made["Labels"]["app"] == "web"
    view = docker_spec.probed(made["Labels"])
    assert view is not None
    assert view.readiness_probe is not None
    assert view.readiness_probe.http_get is not None
    assert (view.port, view.readiness_probe.http_get.port) == (8080, 8080)
    assert "secret" not in json.dumps(made["Labels"])


@pytest.mark.parametrize("labels", [{}, {naming.LABEL_PROBE: "{"}, {naming.LABEL_PROBE: "{}"}])
def test_a_container_without_our_label_has_no_probe(labels: dict[str, str]) -> None:
    assert docker_spec.probed(labels) is None


def test_compose_is_told_only_where_there_is_a_project() -> None:
    assert not [label for label in body()["Labels"] if label.startswith("com.docker")]
    labels = body(docker_spec.Place(project="ringmaster"))["Labels"]
    assert {k.rpartition(".")[2]: v for k, v in labels.items() if k.startswith("com.docker")} == {
        "project": "ringmaster",
        "service": "serverset-web",
        "oneoff": "False",
        "container-number": "3",
        "config-hash": "abc",
    }


def test_an_image_that_compose_built_makes_no_replica_one_of_its_containers() -> None:
    inherited = {"com.docker.compose.project": "shop", "com.docker.compose.service": "server"}
    labels = docker_spec.create(birth(), PLACE, image_labels=inherited)["Labels"]
    assert labels["com.docker.compose.project"] == "serverset-web"
    assert labels["com.docker.compose.service"] == "serverset-web"


@pytest.mark.parametrize(
    ("container", "path"),
    [
        ({"image": "Not Valid"}, "image"),
        ({"image": "upper/CASE:1"}, "image"),
        ({"resources": {"limits": {"memory": "5Mi"}}}, "resources.limits.memory"),
        ({"resources": {"limits": {"cpu": "9m"}}}, "resources.limits.cpu"),
    ],
)
def test_what_the_engine_would_refuse_is_refused_with_its_path(
    container: dict[str, Any], path: str
) -> None:
    (fault,) = docker_spec.faults(template(**container))
    assert fault.path == f"spec.template.spec.containers[0].{path}"


@pytest.mark.parametrize(
    "image",
    [
        "server",
        "ringmaster/server:0.1.0",
        "localhost:5000/a/b_c:v1.2-x",
        "registry.example.org/team/app@sha256:" + 64 * "a",
        "[::1]:5000/app",
    ],
)
def test_every_kind_of_reference_to_an_image_is_allowed(image: str) -> None:
    assert not list(docker_spec.faults(template(image=image)))


def test_limits_on_the_edge_are_allowed() -> None:
    limits = {"memory": "6Mi", "cpu": "10m"}
    assert not list(docker_spec.faults(template(resources={"limits": limits})))


def test_docker_allows_names_of_two_characters_and_more() -> None:
    assert all(map(docker_spec.is_name, ("S5", "web-0-x7k2p", "a_b.c")))
    assert not any(map(docker_spec.is_name, ("a", "", "-a", "a b", "ü1", "a/b")))


def test_a_long_name_is_cut_to_what_a_hostname_may_be() -> None:
    long = dataclasses.replace(birth(), name=100 * "a")
    assert docker_spec.create(long, PLACE, image_labels={})["Hostname"] == 63 * "a"
