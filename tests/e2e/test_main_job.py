"""The main job on real processes and sockets: what dies is replaced, and no client notices.

Each test runs the whole of Ringmaster, puts 40,000 keep-alive GETs on it from 64 connections and
breaks one part in the middle.
"""

from __future__ import annotations

import os
import signal

import loadgen
import psutil
import pytest
import stack as stacks


@pytest.fixture
def stack(tmp_path):
    with stacks.running(tmp_path) as running:
        yield running


def owners(running, keys=2_000):
    """Which server answers each key, over one keep-alive connection at rest."""
    outcome = loadgen.run(running.port, requests=keys, keys=keys, connections=8)
    assert outcome.failures == []
    return {key: server for _, key, server in outcome.answers}


def assert_only_the_victims_keys_moved(before, outcome, *, victim):
    moved = {
        key: server
        for _, key, server in outcome.answers
        if server != before[key] and before[key] != victim
    }
    assert moved == {}


def replaced(running, *, member, victim):
    """The healthy entry that took the victim's place."""

    def look():
        found = running.active().get(member)
        return (
            found if found and found["replica"] != victim and len(running.active()) == 3 else None
        )

    return stacks.eventually(look, what=f"a replacement of {victim}")


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "paused"])
def test_a_replica_that_dies_under_load_costs_no_request_and_keeps_its_keys(stack, fault):
    victim = stack.active()["web-1"]
    name, pid = victim["replica"], stack.pid_of(victim)
    before = owners(stack)

    outcome = loadgen.run(stack.port, at={10_000: lambda: os.kill(pid, fault)})

    assert outcome.failures == []
    assert len(outcome.answers) == 40_000
    assert_only_the_victims_keys_moved(before, outcome, victim=name)
    successor = replaced(stack, member="web-1", victim=name)["replica"]
    assert successor.startswith("emergency-web-1-")
    after = owners(stack)
    assert after == {key: successor if was == name else was for key, was in before.items()}
    if fault is signal.SIGSTOP:
        os.kill(pid, signal.SIGCONT)  # else its grace of 30 s has to pass
    stacks.eventually(lambda: not psutil.pid_exists(pid), what="the end of the dead replica")


def test_a_balancer_that_restarts_alone_serves_the_ring_from_disk(stack):
    before = owners(stack, keys=300)
    held = stack.ring()
    (operator,) = stack.children("ringmaster_operator")
    (balancer,) = stack.children("ringmaster_balancer")
    operator.suspend()  # so that only the disk can tell the new one
    try:
        balancer.kill()
        again = stacks.eventually(
            lambda: (
                (found := stack.ring())["bootId"] != held["bootId"]
                and sum(m["healthy"] for m in found["members"]) == 3
                and found
            ),
            what="the balancer's return",
        )
        assert again["source"] == "disk"
        assert again["checksum"] == held["checksum"]
        assert owners(stack, keys=300) == before
    finally:
        operator.resume()
    stacks.eventually(lambda: stack.ring()["source"] == "push", what="the operator's next push")
    assert owners(stack, keys=300) == before


def test_an_operator_killed_in_the_middle_of_a_scale_up_leaves_exactly_eight(stack):
    before = owners(stack)

    def scale_and_kill():
        stack.cli("scale", "serverset/web", "--replicas=8")
        stacks.eventually(lambda: len(stack.ring()["members"]) > 3, what="the scale-up's start")
        (operator,) = stack.children("ringmaster_operator")
        operator.kill()

    outcome = loadgen.run(stack.port, at={5_000: scale_and_kill})

    assert outcome.failures == []
    active = stack.wait_active(8)
    assert set(active) == {f"web-{n}" for n in range(8)}
    kept = {key: server for key, server in owners(stack).items() if server in before.values()}
    assert all(before[key] == server for key, server in kept.items())
    servers = {stack.pid_of(member) for member in active.values()}
    running = {
        p.pid for p in stacks.marked(stack.state) if "ringmaster-server" in " ".join(p.cmdline())
    }
    assert running == servers  # no orphan


def test_a_kill_minus_nine_of_up_leaves_the_replicas_and_the_next_up_adopts_them(tmp_path):
    first = stacks.start(tmp_path)
    try:
        before = {m["replica"]: first.pid_of(m) for m in first.wait_active(3).values()}
    finally:
        first.process.kill()
        first.process.wait()
    with stacks.running(tmp_path) as second:
        after = {m["replica"]: second.pid_of(m) for m in second.active().values()}
        assert after == before


def test_down_ends_everything_also_when_up_is_gone(tmp_path):
    stack = stacks.start(tmp_path)
    try:
        stack.wait_active(3)
    finally:
        stack.process.kill()
        stack.process.wait()
    assert stacks.marked(stack.state)
    done = stack.cli("down")
    assert done.returncode == 0
    assert stacks.marked(stack.state) == []
