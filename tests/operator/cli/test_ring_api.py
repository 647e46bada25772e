"""A balancer as the CLI asks it, over real HTTP."""

from __future__ import annotations

import json

import http_balancer
import psutil
import pytest
from ringmaster_operator import client, errors, statedir
from ringmaster_operator.api import certificates
from ringmaster_operator.cli import ring_api
from ringmaster_operator.up import children


@pytest.fixture
def balancer():
    with http_balancer.HttpBalancer().running() as running:
        yield running


@pytest.fixture
def state(tmp_path):
    made = statedir.StateDir(tmp_path / "state")
    made.prepare()
    return made


def ring(balancer, *, url=None, **fields):
    given = {"balancer": url or balancer.url + "/", "namespace": "default", "name": "web"}
    return ring_api.Ring(**{**given, "token": "secret", **fields})


def test_explain_asks_the_ring_with_the_token(balancer) -> None:
    balancer.answers["GET"] = (200, b'{"candidates": []}', {})
    assert ring(balancer).explain(b"a/b") == {"candidates": []}
    assert balancer.asked == ["GET /v1/rings/default/web/explain?key=a%2Fb"]


def test_a_key_is_sent_byte_for_byte(balancer) -> None:
    balancer.answers["GET"] = (200, b'{"candidates": []}', {})
    ring(balancer).explain("ä +%".encode() + b"\xff\xfe")
    assert balancer.asked == ["GET /v1/rings/default/web/explain?key=%C3%A4+%2B%25%FF%FE"]


def test_what_is_held_is_read_and_a_wrong_token_said(balancer) -> None:
    assert ring(balancer).held()["bootId"] == "boot-1"
    with pytest.raises(client.ServerError, match="wrong token"):
        ring(balancer, token="other").held()


def test_a_plan_is_asked_for_with_the_change(balancer) -> None:
    balancer.answers["POST"] = (200, b'{"moved": 0.5}', {})
    assert ring(balancer).plan({"members": []}) == {"moved": 0.5}
    assert balancer.asked == ["POST /v1/rings/default/web/plan"]


@pytest.mark.parametrize(
    ("question", "proof"),
    [
        (lambda ring: ring.held(), "members"),
        (lambda ring: ring.explain(b"k"), "candidates"),
        (lambda ring: ring.plan({}), "moved"),
        (lambda ring: ring.picture("ring"), "members"),
    ],
)
def test_whoever_answers_is_a_balancer_only_if_the_answer_is_one(balancer, question, proof) -> None:
    for method in ("GET", "POST"):
        balancer.answers[method] = (200, b"{}", {"Content-Type": "application/json"})
    with pytest.raises(client.ServerError) as said:
        question(ring(balancer))
    fault = f"its answer has no `{proof}`"
    assert str(said.value) == f"what answers at {balancer.url} is no balancer: {fault}"
    for method in ("GET", "POST"):
        balancer.answers[method] = (200, b"hello", {})
    with pytest.raises(client.ServerError, match="is no balancer: its answer is no JSON"):
        question(ring(balancer))


def test_a_hash_on_trial_is_asked_about_again_and_not_forever(balancer) -> None:
    trial = json.dumps({"reason": "HashOnTrial", "message": "in a moment"}).encode()
    balancer.answers["POST"] = (503, trial, {})
    with pytest.raises(errors.RetryLater, match="still being tried"):
        ring(balancer).plan({})
    assert len(balancer.asked) > 1


def test_a_refused_hash_is_said_with_its_numbers(balancer) -> None:
    refused = json.dumps({"reason": "HashRefused", "message": "87 of 512 slots"}).encode()
    balancer.answers["POST"] = (422, refused, {})
    with pytest.raises(client.ServerError, match="87 of 512") as said:
        ring(balancer).plan({})
    assert said.value.reason == "HashRefused"


def test_a_picture_is_of_the_ring_that_is_meant(balancer) -> None:
    svg = {"Content-Type": "image/svg+xml; charset=utf-8"}
    balancer.answers["GET /picture/ring.svg"] = (200, "<svg>→</svg>".encode(), svg)
    assert ring(balancer).picture("ring") == "<svg>→</svg>"
    assert balancer.asked == ["GET /v1/rings/default/web", "GET /picture/ring.svg"]
    with pytest.raises(client.ServerError, match="another ring"):
        ring(balancer, name="nope").picture("ring")
    assert len(balancer.asked) == 3


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {}])
def test_what_is_no_picture_is_not_taken_for_one(balancer, headers) -> None:
    balancer.answers["GET /picture/ring.svg"] = (200, b"hello", headers)
    with pytest.raises(client.ServerError, match="is no balancer: its picture is no SVG"):
        ring(balancer).picture("ring")


def test_a_balancer_that_is_not_there_is_said() -> None:
    with pytest.raises(client.UnreachableError, match="does not answer"):
        ring_api.Ring("http://127.0.0.1:1", "default", "web", "secret").held()


def test_a_balancer_with_tls_is_believed_if_the_authority_given_signed_it(
    balancer, tmp_path
) -> None:
    certificate = certificates.Certificate(tmp_path / "tls", ["127.0.0.1"])
    url = balancer.with_tls(certificate.context)
    ca = certificates.authority_file(tmp_path / "tls")
    assert ring(balancer, url=url, ca=ca).held()["bootId"] == "boot-1"
    untrusted = f"certificate of {url} is not trusted: --balancer-ca names who signed it"
    with pytest.raises(client.UnreachableError, match=untrusted):
        ring(balancer, url=url).held()


def test_a_handshake_that_fails_is_no_matter_of_trust(balancer, tmp_path) -> None:
    url = balancer.url.replace("http:", "https:")
    with pytest.raises(
        client.UnreachableError, match=f"handshake with {url} failed: .*may speak plain HTTP"
    ) as said:
        ring(balancer, url=url).held()
    assert "--balancer-ca" not in str(said.value)
    empty = tmp_path / "ca.pem"
    empty.write_text("no certificate")
    with pytest.raises(client.UnreachableError, match="failed: no certificate") as said:
        ring(balancer, url=url, ca=empty).held()
    assert "plain HTTP" not in str(said.value)


@pytest.mark.parametrize("url", ["foo", "127.0.0.1:5001", "http://127.0.0.1:99999", "http://a..b"])
def test_what_is_no_address_is_said(balancer, url) -> None:
    with pytest.raises(client.UnreachableError) as said:
        ring(balancer, url=url).held()
    assert str(said.value) == f"{url} is no usable address"


def test_balancer_ring_and_token_are_found_in_the_state_folder(state, balancer) -> None:
    port = int(balancer.url.rpartition(":")[2])
    order = children.Order(
        name="balancer", argv=("balancer", "--ring", "prod/api"), ports=(5000, port)
    )
    children.write_record(state, order, psutil.Process())
    token = state.token()
    found = ring_api.find(state)
    assert found == ring_api.Ring(f"http://127.0.0.1:{port}", "prod", "api", token)
    other = ring_api.find(state, names=("web",), balancer="http://b")
    assert (other.balancer, other.namespace, other.name) == ("http://b", "default", "web")
    elsewhere = ring_api.find(state, namespace="nope")
    assert (elsewhere.namespace, elsewhere.name) == ("nope", "api")
    with pytest.raises(errors.UsageError, match="a balancer serves one ring, not web and foo"):
        ring_api.find(state, names=("web", "foo"))


def test_without_a_token_it_is_said_what_to_do(state) -> None:
    with pytest.raises(errors.UsageError, match="is `ringmaster up` running"):
        ring_api.find(state)
