"""Pushes to real HTTP servers on free ports; what they hold is what the views say."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import http_balancer
import pytest
import stack
from ringmaster_operator import announce, errors, observed
from ringmaster_operator.api import certificates

WEB = observed.Owner(namespace="default", name="web", uid="u-1")
NO_URLS: Any = SimpleNamespace(urls=())


def document(*, epoch: int = 5, generation: int = 1) -> dict[str, Any]:
    member = {"id": "web-0", "replica": "web-0-abcde", "address": "127.0.0.1:1", "state": "active"}
    return {"epoch": epoch, "generation": generation, "uid": "u-1", "members": [member]}


@contextlib.contextmanager
def announcer(
    *urls: str, token: str = "secret", settings: announce.Settings | None = None
) -> Iterator[announce.HttpAnnouncer]:
    made = announce.HttpAnnouncer(find=announce.listed(urls), token=token, settings=settings)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def balancer() -> Iterator[http_balancer.HttpBalancer]:
    with http_balancer.HttpBalancer().running() as running:
        yield running


@pytest.fixture
def other() -> Iterator[http_balancer.HttpBalancer]:
    with http_balancer.HttpBalancer().running() as running:
        yield running


def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_push_reaches_every_balancer_and_its_view_tells_what_it_holds(balancer, other) -> None:
    with announcer(balancer.url, other.url) as made:
        views = made.announce(WEB, NO_URLS, document()).views
    assert [view.url for view in views] == [balancer.url, other.url]
    assert balancer.held == other.held == document()
    assert all((v.live, v.epoch, v.generation, v.boot_id) == (True, 5, 1, "boot-1") for v in views)
    held = views[0].members["web-0-abcde"]
    assert (held.state, held.healthy, held.in_flight) == ("active", True, 2)


def test_read_back_shows_members_and_their_source(balancer) -> None:
    balancer.held = document(epoch=9, generation=4)
    with announcer(balancer.url) as made:
        (view,) = made.read_back(WEB, NO_URLS).views
    assert (view.epoch, view.generation, view.source) == (9, 4, "push")
    assert list(view.members) == ["web-0-abcde"]


def test_a_dead_balancer_is_listed_as_not_live_and_hinders_nobody(balancer) -> None:
    dead = unused_url()
    with announcer(dead, balancer.url) as made:
        views = made.announce(WEB, NO_URLS, document()).views
    assert [(view.url, view.live) for view in views] == [(dead, False), (balancer.url, True)]
    assert views[0].message == "no connection"


def test_a_balancer_that_we_have_no_descriptor_to_ask_is_not_taken_for_dead(balancer) -> None:
    """A dead one is waited for no more: what it holds as active would be removed undrained."""
    with announcer(balancer.url) as made, stack.no_descriptor_left():
        (view,) = made.announce(WEB, NO_URLS, document()).views
        (judgement,) = made.judge(WEB, NO_URLS, {})
    assert (view.live, view.known) == (True, False)
    assert view.message == "could not be asked: no file descriptors left here"
    assert (judgement.live, judgement.refused) == (True, "Refused")


def test_a_balancer_that_hangs_is_not_live(balancer) -> None:
    balancer.release.clear()
    with announcer(balancer.url, settings=announce.Settings(live_seconds=0.1)) as made:
        (view,) = made.read_back(WEB, NO_URLS).views
    assert (view.live, view.message) == (False, "no answer in time")


def test_a_balancer_of_another_ring_is_none_of_ours(balancer) -> None:
    balancer.ring = "default/other"
    with announcer(balancer.url) as made:
        assert made.read_back(WEB, NO_URLS).views == ()
        assert made.announce(WEB, NO_URLS, document()).views == ()
        said = f"{balancer.url} serves another ring than {WEB.namespace}/{WEB.name}"
        assert made.read_back(WEB, NO_URLS).missing == said


def test_without_an_address_there_are_no_views() -> None:
    with announcer() as made:
        assert made.announce(WEB, NO_URLS, document()).views == ()
        assert made.read_back(WEB, NO_URLS).missing == ""


def test_a_cluster_is_asked_once_where_its_balancers_are_also_if_there_is_none() -> None:
    asked = []

    def find(*about: Any) -> announce.Found:
        asked.append(about)
        return announce.Found((), sought="no pod with app=lb runs")

    made = announce.HttpAnnouncer(find=find, token="secret")
    try:
        assert made.read_back(WEB, NO_URLS).missing == "no pod with app=lb runs"
        assert asked == [(WEB, NO_URLS)]
    finally:
        made.close()


def test_the_specs_own_urls_win_over_the_configured_ones(balancer, other) -> None:
    with announcer(other.url) as made:
        views = made.read_back(WEB, SimpleNamespace(urls=(balancer.url + "/",))).views
    assert [view.url for view in views] == [balancer.url]


def test_a_balancer_that_knows_a_higher_epoch_fences_this_operator(balancer) -> None:
    balancer.held = document(epoch=6)
    with announcer(balancer.url) as made, pytest.raises(errors.FencedError, match="knows epoch 6"):
        made.announce(WEB, NO_URLS, document(epoch=5))


def test_a_newer_generation_of_our_own_epoch_is_no_fence_but_a_view(balancer) -> None:
    balancer.held = document(generation=9)
    with announcer(balancer.url) as made:
        (view,) = made.announce(WEB, NO_URLS, document(generation=1)).views
    assert (view.live, view.generation) == (True, 9)
    assert "409" in view.message


def test_a_wrong_token_is_a_live_balancer_that_holds_nothing_of_ours(balancer) -> None:
    with announcer(balancer.url, token="wrong") as made:
        (view,) = made.announce(WEB, NO_URLS, document()).views
    assert (view.live, view.known, view.generation) == (True, False, 0)
    assert view.message == "refuses the token (401): wrong token"


@pytest.mark.parametrize("status", [422, 503, 500])
def test_a_refused_push_is_a_live_view_of_what_is_held_instead(balancer, status: int) -> None:
    balancer.held = document(generation=1)
    balancer.answers["PUT"] = (status, b'{"message": "no"}', {})
    with announcer(balancer.url) as made:
        (view,) = made.announce(WEB, NO_URLS, document(generation=2)).views
    assert (view.live, view.generation) == (True, 1)
    assert view.message.endswith(f"({status}): no")


def test_a_redirect_is_never_followed(balancer, other) -> None:
    balancer.answers["GET"] = (307, b"", {"Location": f"{other.url}/v1/rings/default/web"})
    with announcer(balancer.url) as made:
        (view,) = made.read_back(WEB, NO_URLS).views
    assert other.asked == []
    assert "307" in view.message


def test_an_answer_without_end_is_cut_off(balancer) -> None:
    balancer.answers["GET"] = (200, b"{" + b" " * 300_000 + b"}", {})
    with announcer(balancer.url, settings=announce.Settings(body_bytes=1_000)) as made:
        (view,) = made.read_back(WEB, NO_URLS).views
    assert (view.live, view.message) == (False, "answers without end")


def test_an_answer_that_is_no_document_holds_nothing(balancer) -> None:
    balancer.answers["GET"] = (200, b"<html>", {})
    with announcer(balancer.url) as made:
        (view,) = made.read_back(WEB, NO_URLS).views
    assert (view.epoch, view.members, view.known) == (0, {}, False)


def test_a_push_that_was_taken_without_saying_what_is_in_flight_is_not_all_there_is_to_know(
    balancer,
) -> None:
    balancer.answers["GET"] = (500, b"", {})
    with announcer(balancer.url) as made:
        (view,) = made.announce(WEB, NO_URLS, document()).views
    assert (view.live, view.generation, view.known) == (True, 1, False)


def test_a_live_balancer_that_tells_is_known_and_a_dead_one_holds_nothing(balancer) -> None:
    with announcer(balancer.url, unused_url()) as made:
        assert [view.known for view in made.read_back(WEB, NO_URLS).views] == [True, True]


def test_calls_to_one_balancer_share_a_connection(balancer) -> None:
    with announcer(balancer.url) as made:
        for generation in (1, 2, 3):
            made.announce(WEB, NO_URLS, document(generation=generation))
    assert len(balancer.peers) == 1


def test_withdraw_ends_the_ring_and_does_not_mind_a_dead_balancer(balancer) -> None:
    balancer.held = document()
    with announcer(balancer.url, unused_url()) as made:
        made.withdraw(WEB, NO_URLS)
    assert balancer.held["members"] == []


def test_withdraw_is_repeated_while_a_live_balancer_keeps_the_ring(balancer) -> None:
    balancer.answers["DELETE"] = (503, b"{}", {})
    with announcer(balancer.url) as made, pytest.raises(errors.RetryLater, match="keeps the ring"):
        made.withdraw(WEB, NO_URLS)


def test_another_set_of_the_same_name_is_no_fence_whatever_its_epoch(balancer) -> None:
    balancer.held = document(epoch=99) | {"uid": "u-2"}
    balancer.answers["PUT"] = (409, b'{"message": "another ServerSet", "epoch": 99}', {})
    with announcer(balancer.url) as made:
        for views in (
            made.announce(WEB, NO_URLS, document(epoch=5)).views,
            made.read_back(WEB, NO_URLS).views,
        ):
            (view,) = views
            assert (view.live, view.holder) == (True, "u-2")
            assert (view.epoch, view.generation, view.members) == (0, 0, {})


def test_what_not_every_worker_has_confirmed_is_neither_held_nor_let_go(balancer) -> None:
    balancer.confirmed = False
    balancer.held = document(generation=7)
    with announcer(balancer.url) as made:
        (view,) = made.read_back(WEB, NO_URLS).views
        assert (view.epoch, view.generation) == (5, 0)
        assert view.members["web-0-abcde"].state == "unconfirmed"
        balancer.answers["PUT"] = (503, b"{}", {})
        (view,) = made.announce(WEB, NO_URLS, document(generation=7)).views
        assert view.generation == 0


def test_withdraw_says_whose_ring_is_to_end_and_leaves_another_sets(balancer) -> None:
    with announcer(balancer.url) as made:
        made.withdraw(WEB, NO_URLS)
        balancer.answers["DELETE"] = (409, b'{"reason": "OtherHolder"}', {})
        made.withdraw(WEB, NO_URLS)
    assert set(balancer.asked) == {"DELETE /v1/rings/default/web?uid=u-1"}


def planned(status: int, **body: Any) -> tuple[int, bytes, dict[str, str]]:
    return status, json.dumps(body).encode(), {"Content-Type": "application/json"}


def test_a_change_is_judged_by_every_balancer_and_changes_nothing(balancer, other) -> None:
    traffic = {"requests": 40, "moved": 10.5}
    balancer.answers["POST"] = planned(200, moved=0.25, exact=True, traffic=traffic, uid="u-1")
    other.answers["POST"] = planned(422, reason="HashRefused", message="87 of 512")
    dead = unused_url()
    with announcer(balancer.url, other.url, dead) as made:
        one, two, three = made.judge(WEB, NO_URLS, {"members": []})
    assert one == observed.Judgement(
        url=balancer.url, live=True, moved=0.25, exact=True, requests=40, requests_moved=10.5
    )
    assert (two.live, two.refused, two.message) == (True, "HashRefused", "87 of 512")
    assert (three.url, three.live, three.refused) == (dead, False, "")
    assert balancer.asked == ["POST /v1/rings/default/web/plan"]


def test_who_serves_another_ring_or_another_sets_has_no_say(balancer, other) -> None:
    balancer.answers["POST"] = planned(404, message="another ring")
    other.answers["POST"] = planned(200, moved=1.0, exact=True, uid="u-2")
    with announcer(balancer.url, other.url) as made:
        assert made.judge(WEB, NO_URLS, {}) == ()


def test_a_refused_push_carries_its_reason(balancer) -> None:
    balancer.answers["PUT"] = planned(422, reason="HashRefused", message="87 of 512")
    with announcer(balancer.url) as made:
        (view,) = made.announce(WEB, NO_URLS, document()).views
    assert (view.live, view.refused) == (True, "HashRefused")
    assert "87 of 512" in view.message


def test_a_balancer_with_tls_is_believed_if_the_authority_given_signed_it(
    balancer, tmp_path
) -> None:
    made_for = certificates.Certificate(tmp_path, ["127.0.0.1"])
    url = balancer.with_tls(made_for.context)
    ca = certificates.authority_file(tmp_path)
    with announcer(url, settings=announce.trusting(ca)) as made:
        (view,) = made.announce(WEB, NO_URLS, document()).views
    assert (view.live, view.generation) == (True, 1)
    with announcer(url, settings=announce.trusting(None)) as made:
        (view,) = made.read_back(WEB, NO_URLS).views
    assert not view.live


class Moody:
    """A control port by hand: it accepts, reads, and answers 404 once it is `well`."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.well = threading.Event()
        self.asked: queue.Queue[socket.socket] = queue.Queue()
        self.closed: queue.Queue[socket.socket] = queue.Queue()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while connection.recv(65_536):
                self.asked.put(connection)
                if self.well.is_set():
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        self.closed.put(connection)


@pytest.fixture
def moody() -> Iterator[Moody]:
    made = Moody()
    yield made
    made.close()


def test_a_silent_balancer_costs_its_time_once_and_is_asked_on_until_it_speaks(moody) -> None:
    hasty = announce.Settings(live_seconds=0.1, again_seconds=0.02)
    with announcer(moody.url, settings=hasty) as made:
        (view,) = made.read_back(WEB, NO_URLS).views
        assert (view.live, view.message) == (False, "no answer in time")
        while moody.asked.qsize() < 3:  # by itself
            assert made.announce(WEB, NO_URLS, document()).views != ()
        moody.well.set()
        deadline = time.monotonic() + 20
        while made.read_back(WEB, NO_URLS).views != ():  # another ring's, now that it says so
            assert time.monotonic() < deadline


def test_whoever_waits_does_not_ask_a_silent_balancer_again(moody) -> None:
    patient = announce.Settings(live_seconds=0.1, again_seconds=600)
    with announcer(moody.url, settings=patient) as made:
        made.read_back(WEB, NO_URLS)
        for _ in range(2):  # the caller's question, and at once that of the thread
            moody.asked.get(timeout=10)
        for _ in range(50):
            assert not made.read_back(WEB, NO_URLS).views[0].live
            assert not made.announce(WEB, NO_URLS, document()).views[0].live
        assert moody.asked.empty()


def test_a_silent_balancer_is_asked_nearly_all_the_time(moody) -> None:
    """One that is back in a pause would count as dead, and its replicas be removed undrained."""
    with announcer(moody.url, settings=announce.Settings(live_seconds=0.1)) as made:
        made.read_back(WEB, NO_URLS)
        deadline = time.monotonic() + 30
        for _ in range(12):
            moody.asked.get(timeout=max(0.0, deadline - time.monotonic()))


def test_without_a_thread_to_be_had_a_silent_balancer_is_not_silent_for_ever(
    moody, monkeypatch
) -> None:
    start = threading.Thread.start

    def exhausted(thread: threading.Thread) -> None:
        if thread.name == "silent":
            raise RuntimeError("can't start new thread")
        start(thread)

    with announcer(moody.url, settings=announce.Settings(live_seconds=0.1)) as made:
        with monkeypatch.context() as without:
            without.setattr(threading.Thread, "start", exhausted)
            assert not made.read_back(WEB, NO_URLS).views[0].live
        moody.well.set()
        assert made.read_back(WEB, NO_URLS).views == ()


def test_connections_to_balancers_that_nobody_asks_for_any_more_are_closed(moody, other) -> None:
    moody.well.set()
    with announcer(settings=announce.Settings(forget_seconds=0)) as made:
        made.read_back(WEB, SimpleNamespace(urls=(moody.url,)))
        assert moody.closed.empty()
        made.read_back(WEB, SimpleNamespace(urls=(other.url,)))
        moody.closed.get(timeout=10)
