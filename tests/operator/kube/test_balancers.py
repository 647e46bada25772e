"""Finding balancers."""

from __future__ import annotations

import datetime as dt

import pytest
from fake_api import FakeApi
from ringmaster_operator import announce, errors, observed, spec
from ringmaster_operator.kube import balancers, paths

OWNER = observed.Owner("shop", "web", "u1")
BY_LABEL = spec.Balancer.model_validate({"selector": {"matchLabels": {"app": "balancer"}}})


def put(api, name, *, ip="10.0.0.1", phase="Running", ports=(), app="balancer", **metadata):
    status = {"phase": phase} | ({"podIP": ip} if ip else {})
    container = {"ports": [{"name": n, "containerPort": p} for n, p in ports]}
    api.put(
        paths.pods("shop"),
        {
            "metadata": {"name": name, "labels": {"app": app}, **metadata},
            "spec": {"containers": [container]},
            "status": status,
        },
    )


@pytest.fixture
def api():
    return FakeApi()


def test_each_balancer_pod_is_told_by_itself(api):
    put(api, "a", ip="10.0.0.1")
    put(api, "b", ip="10.0.0.2", ports=[("http", 5000), ("control", 6001)])
    put(api, "c", ip="fd00::1")
    put(api, "server", app="web")
    assert balancers.finder(api)(OWNER, BY_LABEL).urls == (
        "http://10.0.0.1:5001",
        "http://10.0.0.2:6001",
        "http://[fd00::1]:5001",
    )


def test_one_that_does_not_run_is_none(api):
    put(api, "pending", ip=None, phase="Pending")
    put(api, "starting", phase="Pending")
    put(api, "evicted", phase="Failed")
    assert balancers.finder(api)(OWNER, BY_LABEL) == announce.Found(
        (), sought="no pod with app=balancer runs"
    )


@pytest.mark.parametrize(("late", "found"), [(-1, 1), (1, 0)])
def test_one_that_is_being_deleted_is_told_until_its_grace_is_over(api, late, found):
    put(api, "a", deletionTimestamp="2026-01-01T00:00:00Z")
    end = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()
    find = balancers.finder(api, clock=lambda: end + late)
    assert find(OWNER, BY_LABEL).urls == ("http://10.0.0.1:5001",) * found


def test_without_a_selector_the_urls_count(api):
    find = balancers.finder(api, ["http://default:5001"])
    named = spec.Balancer.model_validate({"urls": ["http://one:5001/"]})
    assert find(OWNER, named).urls == ("http://one:5001",)
    assert find(OWNER, spec.Balancer()).urls == ("http://default:5001",)
    assert balancers.finder(api)(OWNER, spec.Balancer()) == announce.Found((), sought="")
    assert api.reads == []


def test_no_answer_is_no_empty_list(api):
    def fail(*_args, **_query):
        raise errors.RetryLater("away")

    api.get = fail
    with pytest.raises(errors.RetryLater):
        balancers.finder(api)(OWNER, BY_LABEL)
