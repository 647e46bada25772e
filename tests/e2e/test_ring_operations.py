"""The ring as a user changes it, through `ringmaster up`, its operator and its balancer."""

from __future__ import annotations

import json
import os
import signal
from xml.etree import ElementTree as ET

import own_hashes
import pytest
import requests
import stack as stacks
import yaml


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ring")


@pytest.fixture(scope="module")
def stack(folder):
    hashes = own_hashes.folder(folder / "hashes")
    with stacks.running(folder, flags=("--hash-path", str(hashes))) as running:
        yield running


def manifest(folder, *, replicas=3, annotations=None, **ring):
    document = yaml.safe_load(stacks.SPEC.read_text())
    document["spec"]["replicas"] = replicas
    document["spec"]["ring"] = ring
    if annotations:
        document["metadata"]["annotations"] = annotations
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)


def condition(stack, kind="BalancerSynced"):
    found = stack.serverset()["status"]["conditions"]
    return next(each for each in found if each["type"] == kind)


def settled(stack, reason, *, kind="BalancerSynced"):
    return stacks.eventually(
        lambda: condition(stack, kind) if condition(stack, kind)["reason"] == reason else None,
        what=f"{kind} {reason}",
    )


def owners(stack, keys=range(30)):
    return {key: stack.home(str(key)) for key in keys}


def test_a_plan_tells_beforehand_what_a_scale_moves(stack, folder):
    before = owners(stack)
    said = stack.cli("plan", "-f", manifest(folder, replicas=4)).stdout
    assert said.startswith("3 → 4 members, web-3 comes\n")
    assert "0.00 % needlessly (exact" in said
    told = json.loads(stack.cli("plan", "-f", manifest(folder, replicas=4), "-o", "json").stdout)
    assert {move["to"] for move in told["moves"]} == {"web-3"}
    assert told["traffic"]["requests"] >= len(before)
    assert len(stack.active()) == 3  # nothing was changed

    stack.cli("apply", "-f", manifest(folder, replicas=4))
    stack.wait_active(4)
    after = owners(stack)
    newcomer = stack.active()["web-3"]["replica"]
    assert {key for key in before if before[key] != after[key]} == {
        key for key in after if after[key] == newcomer
    }
    stack.cli("apply", "-f", manifest(folder, replicas=3))
    stack.wait_active(3)
    settled(stack, "AllReplicasServe", kind="Ready")


def test_a_change_beyond_the_limit_waits_and_the_dead_are_replaced_meanwhile(stack, folder):
    stack.cli("apply", "-f", manifest(folder, maxMovedPercent=5))
    settled(stack, "AllReplicasServe", kind="Ready")
    path = manifest(folder, replicas=5, maxMovedPercent=5)
    assert "would be held back" in stack.cli("plan", "-f", path).stdout
    stack.cli("apply", "-f", path)
    held = settled(stack, "MoveHeld")
    assert "more than maxMovedPercent 5" in held["message"]
    assert condition(stack, "Ready")["reason"] == "MoveHeld"
    victim = stack.active()["web-1"]
    os.kill(stack.pid_of(victim), signal.SIGKILL)

    def replaced():
        entry = stack.active().get("web-1")
        return entry and entry["replica"].startswith("emergency-web-1-")

    stacks.eventually(replaced, what="the replacement of a dead replica")
    assert len(stack.active()) == 3
    allowed = {"ringmaster.dev/allow-move": "true"}
    path = manifest(folder, replicas=5, annotations=allowed, maxMovedPercent=5)
    stack.cli("apply", "-f", path)
    stack.wait_active(5)
    settled(stack, "AllReplicasServe", kind="Ready")
    stack.cli("apply", "-f", manifest(folder, replicas=3))
    stack.wait_active(3)


def test_a_hash_must_pass_before_it_serves(stack, folder):
    settled(stack, "AllReplicasServe", kind="Ready")
    before = owners(stack)
    refused = stack.cli("plan", "-f", manifest(folder, hash="students:H", slots=512), check=False)
    assert refused.returncode == 1
    assert "reaches 87 of 512 slots" in refused.stderr
    stack.cli("apply", "-f", manifest(folder, hash="students:H", slots=512))
    assert "reaches 87 of 512 slots" in settled(stack, "HashRefused")["message"]
    assert owners(stack) == before

    stack.cli("apply", "-f", manifest(folder, hash="good:blake"))
    settled(stack, "Synced")
    told = stack.cli("explain", "--key", "alice").stdout
    assert "hash good:blake" in told
    assert stack.home("alice") in told.splitlines()[0]

    stack.cli("apply", "-f", manifest(folder, scheme="classic", hash="students:H"))
    stacks.eventually(
        lambda: "slot 20 of 512" in stack.cli("explain", "--key", "1").stdout,
        what="the classic ring",
    )
    settled(stack, "Synced")


def test_the_ring_can_be_drawn_into_a_file_and_looked_at(stack, folder):
    path = folder / "ring.svg"
    assert "default/web" in stack.cli("picture", "-o", str(path)).stdout
    root = ET.fromstring(path.read_text())
    assert "web-0 has" in root.find("{*}desc").text
    page = requests.get(f"http://127.0.0.1:{stack.control_port}/", timeout=5)
    assert page.status_code == 200
    assert "<svg" in page.text
