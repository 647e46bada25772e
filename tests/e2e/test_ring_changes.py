"""A running balancer whose ring changes: own hash functions, plans, and what becomes of traffic."""

from __future__ import annotations

import balancer_process as balancers
import own_hashes
import pytest
import requests
from ringmaster_balancer import codes
from ringmaster_balancer import members as wire
from ringmaster_balancer.ring import table


@pytest.fixture
def servers():
    with balancers.upstreams("web-0", "web-1", "web-2") as found:
        yield found


def membership(servers, generation=1, **fields):
    listed = ((server.name, server.address) for server in servers)
    return balancers.document(*listed, generation=generation, **fields)


def served_by(balancer, key):
    answer = requests.get(balancer.url, headers={"X-Request-Id": key}, timeout=10)
    assert answer.status_code == 200
    return answer.text


def test_an_own_hash_serves_in_every_worker_and_outlives_a_restart(tmp_path, servers):
    folder = own_hashes.folder(tmp_path / "hashes")
    ring = {"hash": "good:blake", "slots": 4096}
    by_hand = table.compile(
        wire.Ring(**ring),
        [(server.name, 100) for server in servers],
        own=_loaded("good:blake", own_hashes.GOOD),
    )
    wanted = {
        key: by_hand.ids[by_hand.first(by_hand.slot_of(key.encode()))[0]]
        for key in map(str, range(40))
    }
    flags = ("--workers", "2", "--hash-path", str(folder))
    with balancers.running(tmp_path, *flags) as balancer:
        balancer.push(membership(servers, ring=ring))
        assert {key: served_by(balancer, key) for key in wanted} == wanted
        # The file changes, and the ring does not: what passed serves until the ring names another.
        (folder / "good.py").write_text("def blake(key: bytes) -> int:\n    return 1\n")
        balancer.push(membership(servers[:2], generation=2, ring=ring))
        balancer.push(membership(servers, generation=3, ring=ring))
        assert {key: served_by(balancer, key) for key in wanted} == wanted
        ports = balancer.ports
    with balancers.running(tmp_path, *flags, ports=ports) as balancer:
        balancers.eventually(balancer.ready, what="the ring from disk")
        assert balancer.held()["source"] == "disk"
        assert {key: served_by(balancer, key) for key in wanted} == wanted


def test_a_hash_that_fails_the_gate_is_refused_with_numbers_and_the_old_ring_stays(
    tmp_path, servers
):
    folder = own_hashes.folder(tmp_path / "hashes")
    with balancers.running(tmp_path, "--hash-path", str(folder)) as balancer:
        balancer.push(membership(servers))
        before = {key: served_by(balancer, key) for key in map(str, range(20))}
        for reference, words in {
            "students:H": "reaches 87 of 512 slots",
            "bad:seeded": "in another",
            "missing:f": "no missing.py",
        }.items():
            ring = {"hash": reference, "slots": 512}

            def refused(ring=ring):
                answer = balancer.push(membership(servers, 2, ring=ring), accepted=False)
                return [answer] if answer.status_code != 503 else []

            (answer,) = balancers.eventually(refused, what="the verdict")
            assert answer.status_code == 422
            assert answer.json()["reason"] == "HashRefused"
            assert words in answer.json()["message"]
            assert answer.json()["verdict"]["accepted"] is False
            planned = balancer.ask("POST", f"{balancer.ring}/plan", json={"ring": ring})
            assert (planned.status_code, planned.json()["reason"]) == (422, "HashRefused")
        assert balancer.held()["generation"] == 1
        assert {key: served_by(balancer, key) for key in before} == before
        # Asked for by name, on the ring that is theirs:
        balancer.push(membership(servers, 3, ring={"scheme": "classic", "hash": "students:H"}))
        told = balancer.ask("GET", f"{balancer.ring}/explain", params={"key": "1"}).json()
        assert (told["slot"], told["slots"]) == (20, 512)  # H(1) = 1 + 2 + 17


def test_a_plan_says_what_a_change_would_do_and_how_much_traffic_that_is(tmp_path, servers):
    with balancers.running(tmp_path, "--workers", "2") as balancer:
        plan = f"{balancer.ring}/plan"
        nothing = balancer.ask("POST", plan, json={"members": [{"id": "web-0"}]}).json()
        assert (nothing["moved"], nothing["generation"]) == (0, 0)
        balancer.push(membership(servers))
        keys = [str(number) for number in range(120)]
        before = {key: served_by(balancer, key) for key in keys}
        members = [{"id": f"web-{ordinal}"} for ordinal in range(2)]
        planned = balancer.ask("POST", plan, json={"members": members}).json()
        leaving = sum(owner == "web-2" for owner in before.values())
        assert planned["exact"] is True
        assert planned["needless"] == 0
        assert {move["from"] for move in planned["moves"]} == {"web-2"}
        assert planned["moved"] == pytest.approx(1 / 3, abs=0.03)
        assert planned["traffic"]["requests"] == len(keys)
        assert planned["traffic"]["moved"] == pytest.approx(leaving)
        assert planned["traffic"]["needless"] == 0
        other = balancer.ask("POST", plan, json={"ring": {"hash": "md5"}}).json()
        assert other["exact"] is False
        assert other["moved"] == pytest.approx(2 / 3, abs=0.03)
        assert other["ring"]["after"]["hash"] == "md5"
        # Weights, which a ServerSet has not.
        heavy = [{"id": "web-0", "weight": 300}, {"id": "web-1"}, {"id": "web-2"}]
        weighted = balancer.ask("POST", plan, json={"members": heavy}).json()
        assert weighted["exact"] is True
        shares = {each["id"]: each["after"] for each in weighted["members"]}
        assert shares["web-0"] == pytest.approx(3 / 5, abs=0.02)
        assert {move["to"] for move in weighted["moves"]} == {"web-0"}
        assert weighted["moved"] == pytest.approx(3 / 5 - 1 / 3, abs=0.03)
        # What was planned is what happens.
        balancer.push(membership(servers[:2], generation=2))
        after = {key: served_by(balancer, key) for key in keys}
        assert {key for key in keys if after[key] != before[key]} == {
            key for key in keys if before[key] == "web-2"
        }
        for wrong in ({"members": [{"id": ""}]}, {"ring": {"scheme": "x"}}, {"other": 1}, []):
            answer = balancer.ask("POST", plan, json=wrong)
            assert (answer.status_code, bool(answer.json()["faults"])) == (422, True)
        assert balancer.ask("POST", plan, headers={"Authorization": ""}, json={}).status_code == 401


def _loaded(reference, source):
    function, kind = codes.function(reference, source)
    code = codes.custom.Code(reference=reference, source=source, digest="d", kind=kind)
    return codes.custom.Custom(code=code, function=function)
