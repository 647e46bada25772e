"""What the operator serves on a cluster."""

from __future__ import annotations

import contextlib

import local_api
import pytest
import requests
from ringmaster_operator import api, errors
from ringmaster_operator.api import cluster_app

LAB = "/lab/v1/namespaces/default/serversets/web"


class Sets:
    """One ServerSet, in memory."""

    def __init__(self):
        self.document = local_api.server_set(replicas=1)

    def get(self, namespace, name):
        return self.document if name == "web" else None

    def update(self, namespace, name, change):
        if name != "web":
            raise errors.NotFoundError(name)
        self.document = change(self.document)
        return self.document

    def subscribe(self, callback):
        return lambda: None


class World:
    """The application and what it asks."""

    def __init__(self):
        self.good = True
        self.sets = Sets()
        self.views = [local_api.view("S1")]
        self.app = cluster_app.make_app(
            self.sets,
            lambda _namespace, _name: self.views,
            token="secret",
            alive=lambda: self.good,
            ready=lambda: self.good,
            name_fault=lambda name: "no name" if "_" in name else "",
        )
        self.url = ""

    def ask(self, path, *, token="secret", method="GET", **options):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(method, self.url + path, headers=headers, timeout=10, **options)


@pytest.fixture
def world():
    made = World()
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(api.serve(made.app, "127.0.0.1", 0))
        made.url = f"http://127.0.0.1:{port}"
        yield made


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_the_kubelet_is_answered_without_a_token(world, path):
    assert world.ask(path, token=None).status_code == 200
    world.good = False
    assert world.ask(path, token=None).status_code == 503


@pytest.mark.parametrize("token", [None, "wrong"])
def test_nobody_else_is(world, token):
    assert world.ask(f"{LAB}/rep", token=token).status_code == 401


def test_a_balancer_asks_who_serves(world):
    assert world.ask(f"{LAB}/rep").json() == {
        "message": {"N": 1, "replicas": ["S1"]},
        "status": "successful",
    }


def test_a_name_that_the_runtime_cannot_give_is_refused_and_nothing_changes(world):
    body = {"n": 1, "hostnames": ["S_5"]}
    answer = world.ask(f"{LAB}/add", method="POST", json=body)
    assert answer.status_code == 400
    assert answer.json()["message"] == "<Error> Hostname 'S_5' is no name"
    assert world.sets.document["spec"]["replicas"] == 1


def test_server_sets_are_the_api_servers_business(world):
    assert world.ask("/apis/ringmaster.dev/v1alpha1/serversets").status_code == 404
