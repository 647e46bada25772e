from __future__ import annotations

import dataclasses

import local_api
import pytest
from ringmaster_operator import observed
from ringmaster_operator.api import views


def balancer(state: str | None, *, live: bool = True) -> observed.BalancerView:
    held = observed.HeldMember(replica="S1", state=state or "", healthy=True, in_flight=0)
    return observed.BalancerView(
        url="http://b", live=live, members={} if state is None else {"S1": held}
    )


def ring(*balancers: observed.BalancerView, decided: str = views.ACTIVE) -> str:
    (view,) = views.acknowledged([local_api.view("S1", state=decided)], balancers)
    return view.ring


def test_decided_is_not_yet_active() -> None:
    assert ring(balancer(None)) == ""
    assert ring(balancer("active")) == "active"
    assert ring(balancer("active"), decided=views.DRAINING) == "active"
    assert ring(balancer("draining"), decided=views.DRAINING) == "draining"


@pytest.mark.parametrize("other", ["draining", "absent", "unconfirmed", None])
def test_active_for_some_is_partly(other: str | None) -> None:
    assert ring(balancer("active"), balancer(other)) == "partly"
    assert ring(balancer(other), balancer("unconfirmed")) == "partly"


def test_a_dead_balancer_confirms_nothing_and_hinders_nobody() -> None:
    assert ring(balancer("active"), balancer(None, live=False)) == "active"
    assert ring(balancer("active", live=False)) == ""


def test_without_a_balancer_the_decision_is_all_there_is() -> None:
    assert ring() == "active"


def test_what_the_document_says_reads_back() -> None:
    view = local_api.view("S1", at=1_763_863_200.123456)
    replica = dataclasses.replace(
        view.replica, owner_uid="", created_at=1_763_863_200.0, restarts=2, deletion_cost=-7
    )
    view = dataclasses.replace(view, replica=replica)
    assert views.parse(view.document("default")) == view


def test_the_document_shows_what_clients_meet() -> None:
    view = dataclasses.replace(local_api.view("S1"), held="partly")
    shown = view.document("default")
    assert shown["status"]["ring"] == "partly"
    assert shown["metadata"]["name"] == "web-s1"
    assert "readySince" in shown["status"]
    assert "unreadySince" not in shown["status"]
