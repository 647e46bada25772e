"""The control process as clients meet it: the lab API on the data port, and what it never shows."""

from __future__ import annotations

import re

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


def test_metrics_are_in_prometheus_text_and_say_no_secret(world):
    answer = requests.get(f"{world.control}/metrics", timeout=5)
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert re.search(r"^ringmaster_balancer_workers 1\.0$", answer.text, re.MULTILINE)
    assert balancers.TOKEN not in answer.text
