"""The first container as it is started: references resolved, defaults as Kubernetes has them."""

from __future__ import annotations

from typing import Any

import hypothesis
import pytest
import serversets
from hypothesis import strategies as st
from ringmaster_operator import spec
from ringmaster_operator.spec import template


def pod(**container: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "server", **container}]}}


def env(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def test_the_example_is_seen_whole() -> None:
    view = spec.container(serversets.example()["spec"]["template"])
    assert (view.name, view.image) == ("server", "ringmaster/server:0.1.0")
    assert (view.command, view.args, view.env) == (("ringmaster-server",), (), {})
    assert (view.port, view.grace_seconds) == (5000, 30)
    probe = view.readiness_probe
    assert probe is not None
    assert probe.http_get is not None
    assert (probe.http_get.path, probe.http_get.port) == ("/heartbeat", 5000)
    assert (probe.period_seconds, probe.timeout_seconds, probe.initial_delay_seconds) == (1, 1, 0)
    assert (probe.success_threshold, probe.failure_threshold) == (1, 2)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$(A)", "a"),
        ("x$(A)$(B)y", "xaby"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$a"),
        ("$$$$(A)", "$$(A)"),
        ("$(C)", "$(C)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
        ("$($(A))", "$($(A))"),
        ("$$", "$"),
    ],
)
def test_references_resolve_as_kubernetes_does(text: str, wanted: str) -> None:
    assert template.expand(text, {"A": "a", "B": "b"}) == wanted


@hypothesis.given(st.text(alphabet="$()A x", max_size=12))
def test_expansion_agrees_with_kubernetes_own_state_machine(text: str) -> None:
    assert template.expand(text, {"A": "a", "": "-"}) == machine(text, {"A": "a", "": "-"})


def machine(text: str, values: dict[str, str]) -> str:
    """The steps of kubernetes' expansion.Expand, one character at a time."""
    out, at = "", 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out, at = out + text[at], at + 1
        elif text[at + 1] == "$":
            out, at = out + "$", at + 2
        elif text[at + 1] == "(" and ")" in text[at + 2 :]:
            end = text.index(")", at + 2)
            name = text[at + 2 : end]
            out, at = out + values.get(name, f"$({name})"), end + 1
        else:
            out, at = out + text[at : at + 2], at + 2
    return out


def test_a_variable_sees_the_earlier_ones_only() -> None:
    view = spec.container(pod(env=env(A="1", B="$(A)$(C)", C="3"), args=["$(B)", "$(C)"]))
    assert view.env == {"A": "1", "B": "1$(C)", "C": "3"}
    assert view.args == ("1$(C)", "3")


def test_a_default_gives_way_to_the_template_and_an_override_does_not() -> None:
    given = pod(
        env=env(SERVER_ID="mine", PORT="1", URL="http://x:$(PORT)"), command=["s", "$(PORT)"]
    )
    view = spec.container(
        given, defaults={"SERVER_ID": "web-0", "HOST": "h"}, overrides={"PORT": "31234"}
    )
    assert view.env == {
        "SERVER_ID": "mine",
        "HOST": "h",
        "PORT": "31234",
        "URL": "http://x:31234",
    }
    assert view.command == ("s", "31234")


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("a:1", "IfNotPresent"),
        ("a", "Always"),
        ("a:latest", "Always"),
        ("host:5000/a", "Always"),
        ("host:5000/a:1", "IfNotPresent"),
        ("a@sha256:00", "IfNotPresent"),
        ("a:latest@sha256:00", "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, wanted: str) -> None:
    assert spec.container(pod(image=image)).image_pull_policy == wanted
    given = pod(image=image, imagePullPolicy="Never")
    assert spec.container(given).image_pull_policy == "Never"


@pytest.mark.parametrize(
    ("ports", "wanted"),
    [
        ([], 5000),
        ([{"containerPort": 8080}], 8080),
        ([{"containerPort": 9000}, {"name": "http", "containerPort": 8080}], 8080),
    ],
)
def test_the_port_that_serves_is_http_or_the_first(ports: list[Any], wanted: int) -> None:
    assert spec.container(pod(ports=ports)).port == wanted


def test_resources_are_numbers() -> None:
    resources = {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": 1}}
    view = spec.container(pod(resources=resources))
    assert (view.resources.limits.cpu, view.resources.limits.memory) == (0.5, 67_108_864)
    assert (view.resources.requests.cpu, view.resources.requests.memory) == (1.0, None)


def probed(probe: dict[str, Any] | None, **container: Any) -> dict[str, Any]:
    ports = [{"name": "http", "containerPort": 80}, {"name": "admin", "containerPort": 81}]
    given = {} if probe is None else {"readinessProbe": probe}
    return spec.health(pod(ports=ports, **given, **container))


def test_balancers_probe_in_the_rhythm_of_the_readiness_probe() -> None:
    probe = {
        "httpGet": {"path": "/ok", "port": "http"},
        "periodSeconds": 3,
        "timeoutSeconds": 2,
        "failureThreshold": 4,
        "successThreshold": 5,
    }
    assert probed(probe) == {
        "path": "/ok",
        "intervalSeconds": 3,
        "timeoutSeconds": 2,
        "fall": 4,
        "rise": 5,
    }


@pytest.mark.parametrize(
    "probe",
    [
        None,
        {"tcpSocket": {"port": "http"}},
        {"exec": {"command": ["true"]}},
        {"httpGet": {"path": "/ok", "port": "admin"}},
        {"httpGet": {"path": "/ok", "port": 80, "scheme": "HTTPS"}},
    ],
)
def test_without_a_path_on_the_serving_port_balancers_connect_only(
    probe: dict[str, Any] | None,
) -> None:
    assert probed(probe)["path"] is None


@pytest.mark.parametrize(
    ("path", "sent"),
    [("ok", "/ok"), ("", "/"), ("/a b\r\nX-Evil: 1#ä", "/a%20b%0D%0AX-Evil:%201%23%C3%A4")],
)
def test_balancers_get_a_path_that_a_request_line_takes_also_of_an_old_template(
    path: str, sent: str
) -> None:
    """As the kubelet writes it; such a template may have been taken before the rule came."""
    assert probed({"httpGet": {"path": path, "port": "http"}})["path"] == sent
