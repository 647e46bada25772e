"""Whom a change concerns."""

from __future__ import annotations

import copy

import pytest
from ringmaster_operator import naming, observed
from ringmaster_operator.kube import hints

OWNER = observed.Owner("shop", "web", "u1")


def server_set(**changes):
    return {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "generation": 1, **changes},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "balancer": {"selector": {"matchLabels": {"app": "balancer"}}},
        },
    }


def pod(*, labels=None, namespace="shop", owners=()):
    return {
        "metadata": {
            "name": "p",
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": list(owners),
        }
    }


@pytest.fixture
def known():
    made = hints.Hints()
    made.of_set(server_set(), gone=False)
    return made


def test_a_set_that_comes_and_one_that_goes_are_looked_at():
    made = hints.Hints()
    assert made.of_set(server_set(), gone=False) == OWNER
    assert made.of_set(server_set(), gone=True) == OWNER


@pytest.mark.parametrize(
    "own",
    [
        {"annotations": {naming.ANNOTATION_MEMORY: "other"}},
        {"resourceVersion": "9"},
        {"managedFields": [{"manager": "us"}]},
    ],
)
def test_what_we_write_ourselves_is_no_reason_to_look(known, own):
    document = server_set(**own)
    document["status"] = {"replicas": 3}
    assert known.of_set(document, gone=False) is None


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": {"ringmaster.dev/allow-move": "true"}},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"uid": "u2"},
        {"labels": {"a": "b"}},
    ],
)
def test_what_others_write_is(known, change):
    assert known.of_set(server_set(**change), gone=False) is not None


def test_a_changed_spec_is(known):
    document = copy.deepcopy(server_set())
    document["spec"]["replicas"] = 4
    assert known.of_set(document, gone=False) == OWNER


def test_a_pod_concerns_its_controller_even_if_the_set_was_never_seen():
    ref = {"kind": naming.KIND, "apiVersion": naming.API_VERSION, "name": "web", "uid": "u1"}
    assert hints.Hints().of_pod(pod(owners=[ref])) == {OWNER}


def test_a_pod_of_somebody_else_concerns_nobody(known):
    ref = {"kind": "ReplicaSet", "apiVersion": "apps/v1", "name": "x", "uid": "u9"}
    assert known.of_pod(pod(labels={"app": "other"}, owners=[ref])) == set()


@pytest.mark.parametrize("app", ["web", "balancer"])
def test_a_pod_that_a_selector_matches_concerns_the_set(known, app):
    assert known.of_pod(pod(labels={"app": app})) == {OWNER}
    assert known.of_pod(pod(labels={"app": app}, namespace="elsewhere")) == set()
    assert known.of_pod(pod(labels=None)) == set()


def test_a_set_that_is_gone_wants_no_pods(known):
    known.of_set(server_set(), gone=True)
    assert known.of_pod(pod(labels={"app": "web"})) == set()


@pytest.mark.parametrize("late", [{}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}])
def test_a_set_made_anew_still_wants_its_pods_when_the_end_of_the_old_one_is_told_late(late):
    made = hints.Hints()
    made.of_set(server_set(uid="u2"), gone=False)
    made.of_set(server_set(**late), gone=False)
    made.of_set(server_set(**late), gone=True)
    assert made.of_pod(pod(labels={"app": "web"})) == {observed.Owner("shop", "web", "u2")}
