"""The control process as clients meet it: the lab API on the data port, and what it never shows."""

from __future__ import annotations

import contextlib
import re
import resource
import socket

import balancer_process as balancers
import pytest
import requests


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    flags = ("--lab-api", "--operator-url", "http://127.0.0.1:1")
    with (
        balancers.upstreams("one") as (server,),
        balancers.running(tmp_path_factory.mktemp("lab"), *flags) as balancer,
    ):
        balancer.push(balancers.document(("web-0", server.address)))
        yield balancer


def test_rep_is_answered_on_the_data_port(world):
    answer = requests.get(f"{world.url}/rep", timeout=5)
    assert (answer.status_code, answer.json()) == (
        200,
        {"message": {"N": 1, "replicas": ["web-0-r"]}, "status": "successful"},
    )


@pytest.mark.parametrize(
    ("method", "path", "data", "code"),
    [
        ("POST", "/add", '{"n": 1}', 503),
        ("DELETE", "/rm", '{"n": 1}', 503),
        ("POST", "/rm", "{", 400),
        ("PUT", "/add", "{}", 405),
        ("DELETE", "/rep", "", 405),
    ],
)
def test_a_change_that_fails_has_the_assignments_form(world, method, path, data, code):
    answer = requests.request(method, world.url + path, data=data, timeout=10)
    assert (answer.status_code, answer.json()["status"]) == (code, "failure")
    assert answer.json()["message"].startswith("<Error> ")


@pytest.mark.parametrize("path", ["/v1/rings/default/web", "/lab/rep", "/metrics", "/rep/"])
def test_nothing_else_of_the_control_process_is_reached_from_the_data_port(world, path):
    assert requests.get(world.url + path, timeout=5).text == "one"


def test_the_control_port_does_not_offer_the_lab_api(world):
    assert requests.get(f"{world.control}/lab/rep", timeout=5).status_code == 404


def test_a_ring_that_cannot_be_built_names_the_field_at_fault(world):
    wrong = {"scheme": "maglev", "slots": 10}
    push = world.push(balancers.document(generation=9, ring=wrong), accepted=False)
    plan = world.ask("POST", f"{world.ring}/plan", json={"ring": wrong})
    for answer in (push, plan):
        assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
        assert [fault["path"] for fault in answer.json()["faults"]] == ["ring.slots"]
        assert answer.json()["message"].startswith("ring.slots: maglev needs a prime number")


def test_metrics_are_in_prometheus_text_and_say_no_secret(world):
    answer = requests.get(f"{world.control}/metrics", timeout=5)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert re.search(r"^ringmaster_balancer_workers 1\.0$", answer.text, re.MULTILINE)
    assert balancers.TOKEN not in answer.text


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2_000)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_idle_and_stalled_connections_keep_out_no_push_and_no_health_check(
    tmp_path, many_descriptors
):
    push = b"PUT /v1/rings/default/web HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    stalled = push + f"Authorization: Bearer {balancers.TOKEN}\r\n".encode()
    with (
        balancers.upstreams("one") as (server,),
        balancers.running(tmp_path, "--workers", "1") as balancer,
        contextlib.ExitStack() as stack,
    ):
        balancer.push(balancers.document(("web-0", server.address)))

        def connect(words):
            made = stack.enter_context(
                socket.create_connection(("127.0.0.1", balancer.ports[1]), timeout=10)
            )
            made.sendall(words)

        for _ in range(12):
            connect(stalled + b'Content-Length: 100\r\n\r\n{"epoch":')
        for number in range(1_000):
            connect((b"", b"GET /he", push + b"Content-Length: 100\r\n\r\n{")[number % 3])
        assert requests.get(f"{balancer.control}/healthz", timeout=5).status_code == 200
        assert balancer.ready()
        again = balancers.document(("web-0", server.address), generation=2)
        assert balancer.push(again).json()["generation"] == 2


def test_a_resolver_that_is_silent_holds_up_no_push(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(
        "import socket, time\n"
        "real = socket.getaddrinfo\n"
        "def silent(host, *rest, **options):\n"
        "    if str(host).endswith('.silent'):\n"
        "        time.sleep(600)\n"
        "    return real(host, *rest, **options)\n"
        "socket.getaddrinfo = silent\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    named = [(f"web-{number}", f"web-{number}.silent:80") for number in range(40)]
    with (
        balancers.upstreams("one") as (server,),
        balancers.running(tmp_path, "--workers", "1") as balancer,
    ):
        for generation in range(1, 4):
            balancer.push(balancers.document(*named, generation=generation))
        balancers.eventually(lambda: "member is unhealthy" in balancer.text(), what="probes")
        without = balancers.document(("web-0", server.address), generation=4)
        assert balancer.push(without).json()["generation"] == 4
        assert balancer.home() == "one"
