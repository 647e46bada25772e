"""Events about ServerSets."""

from __future__ import annotations

import pytest
from fake_api import FakeApi
from ringmaster_operator import errors, observed
from ringmaster_operator.kube import events, paths
from virtual_clock import VirtualClock

OWNER = observed.Owner("shop", "web", "u1")


@pytest.fixture
def api():
    return FakeApi()


def posted(api):
    return [o for path, o in api.objects.items() if path.startswith(paths.events("shop"))]


def say(poster, message="Created web-0", reason="SuccessfulCreate"):
    poster.post(OWNER, kind="Normal", reason=reason, message=message)


def test_an_event_is_about_its_set(api):
    poster = events.Poster(api, clock=VirtualClock())
    say(poster)
    poster.close()
    (event,) = posted(api)
    assert event["involvedObject"]["uid"] == "u1"
    assert (event["type"], event["reason"]) == ("Normal", "SuccessfulCreate")
    assert (event["message"], event["count"]) == ("Created web-0", 1)
    assert event["metadata"]["namespace"] == "shop"


def test_the_same_again_is_counted(api):
    clock = VirtualClock()
    poster = events.Poster(api, clock=clock)
    for _ in range(3):
        say(poster)
        clock.advance(1)
    say(poster, message="Created web-1")
    poster.close()
    assert sorted(event["count"] for event in posted(api)) == [1, 3]


def test_one_that_has_expired_begins_anew(api):
    poster = events.Poster(api, clock=VirtualClock())
    api.meanwhile = [lambda: None, api.objects.clear]
    say(poster)
    say(poster)
    poster.close()
    (event,) = posted(api)
    assert event["count"] == 1


def test_what_cannot_be_posted_is_lost_and_the_next_is_not(api):
    api.faults = [errors.RetryLater("away"), errors.RefusedError("Forbidden", "no")]
    poster = events.Poster(api, clock=VirtualClock())
    for number in range(3):
        say(poster, message=str(number))
    poster.close()
    assert [event["message"] for event in posted(api)] == ["2"]


def test_a_message_is_as_long_as_kubernetes_lets_it_be(api):
    poster = events.Poster(api, clock=VirtualClock())
    say(poster, message="x" * 5_000)
    poster.close()
    assert len(posted(api)[0]["message"]) == 1024
