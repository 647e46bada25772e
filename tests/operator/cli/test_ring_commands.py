"""explain, plan and picture as a user types them, against a scripted balancer."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import click.testing
import http_balancer
import pytest
import scripted_api
import simulation
import yaml
from ringmaster_operator import cli
from ringmaster_operator.api import certificates

SIDE = {"scheme": "hrw", "hash": "xxh3", "slots": 65_536}
TOLD: dict[str, Any] = {
    "exact": True,
    "moved": 0.2475,
    "needless": 0.0,
    "ring": {"before": {**SIDE, "members": 3}, "after": {**SIDE, "members": 4}},
    "members": [{"id": "web-3", "before": 0.0, "after": 0.2475}],
    "moves": [{"from": "web-0", "to": "web-3", "share": 0.08}],
    "traffic": None,
}
WAY: dict[str, Any] = {
    "key": "k",
    "replica": "web-1-x",
    "member": "web-1",
    "candidates": [],
    "members": [],  # asked for the ring, the same answer serves
}


@pytest.fixture
def balancer():
    with http_balancer.HttpBalancer().running() as running:
        yield running


@pytest.fixture(autouse=True)
def no_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """None answers unless a test brings one."""
    monkeypatch.setenv("RINGMASTER_SERVER", "http://127.0.0.1:1")


@pytest.fixture
def where(tmp_path: Path, balancer: http_balancer.HttpBalancer) -> tuple[str, ...]:
    (tmp_path / "token").write_text("secret\n")
    return ("--balancer", balancer.url, "--state-dir", str(tmp_path))


def draws(balancer: http_balancer.HttpBalancer, picture: bytes) -> None:
    for part in ("sheet", "change"):
        svg = {"Content-Type": "image/svg+xml; charset=utf-8"}
        balancer.answers[f"GET /picture/{part}.svg"] = (200, picture, svg)


def run(*words: str, text: str | None = None) -> click.testing.Result:
    return click.testing.CliRunner().invoke(cli.main, list(words), input=text)


def answer(**body: Any) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(body).encode(), {}


def test_explain_shows_the_way_of_a_key(balancer, where) -> None:
    balancer.answers["GET"] = answer(**WAY)
    words = ("explain", "--key", "k", *where)
    assert run(*words).output.startswith("'k' goes to web-1-x (member web-1)")
    assert '"replica": "web-1-x"' in run(*words, "-o", "json").output


def test_a_key_need_be_no_text(balancer, where) -> None:
    key = os.fsdecode(b"\xff\xfe")  # as the shell's $'\xff\xfe' arrives
    balancer.answers["GET"] = answer(**WAY)
    done = run("explain", "--key", key, *where)
    assert (done.exit_code, done.exception) == (0, None)
    assert balancer.asked == ["GET /v1/rings/default/web/explain?key=%FF%FE"]


def test_an_empty_key_is_no_key(balancer, where) -> None:
    done = run("explain", "--key", "", *where)
    assert (done.exit_code, balancer.asked) == (2, [])
    assert "'--key': an empty key is none: a request without one gets a random key" in done.stderr


@pytest.mark.parametrize("command", ["explain --key k", "plan -f -", "picture"])
def test_every_command_can_be_told_who_signed_the_balancers_certificate(
    balancer, where, tmp_path, command
) -> None:
    certificate = certificates.Certificate(tmp_path / "tls", ["127.0.0.1"])
    url = balancer.with_tls(certificate.context)
    balancer.answers["GET"] = answer(**WAY)
    balancer.answers["POST"] = answer(**TOLD)
    draws(balancer, b"<svg/>")
    words = (*command.split(), *where, "--balancer", url)
    manifest = yaml.safe_dump(simulation.document(4))
    ca = certificates.authority_file(tmp_path / "tls")
    assert run(*words, "--balancer-ca", str(ca), text=manifest).exit_code == 0
    done = run(*words, text=manifest)
    assert (done.exit_code, "is not trusted: --balancer-ca" in done.stderr) == (1, True)


def test_plan_reads_a_manifest_and_says_what_would_move(balancer, where) -> None:
    balancer.answers["POST"] = answer(**TOLD)
    manifest = yaml.safe_dump(simulation.document(4))
    done = run("plan", "-f", "-", *where, text=manifest)
    assert done.exit_code == 0
    assert "moves 24.75 % of the key space" in done.output
    assert balancer.asked == ["GET /v1/rings/default/web", "POST /v1/rings/default/web/plan"]
    assert json.loads(run("plan", "-f", "-", "-o", "json", *where, text=manifest).stdout) == TOLD


def test_plan_asks_the_operator_who_goes(balancer, where) -> None:
    balancer.answers["POST"] = answer(**TOLD)
    members = [{"id": f"web-{n}", "replica": f"web-{n}-abcde", "state": "active"} for n in range(3)]
    balancer.answers["GET"] = answer(members=members)
    api = scripted_api.ScriptedApi()
    items = [scripted_api.replica(n, restarts=int(n == 1)) for n in range(3)]
    api.answers["GET", scripted_api.SET + "/replicas"] = (
        200,
        {"kind": "ReplicaList", "items": items},
    )
    manifest = yaml.safe_dump(simulation.document(2))
    with api.running() as server:
        done = run("plan", "-f", "-", "--server", server, *where, text=manifest)
    assert "web-1 goes" in done.output
    assert "(exact" in done.output
    alone = run("plan", "-f", "-", *where, text=manifest)
    assert "web-2 goes" in alone.output
    assert "may differ" in alone.output


def planned(where, text: str, api: scripted_api.ScriptedApi | None = None) -> Any:
    """A plan of a manifest, as the operator of that API is there to be asked or not."""
    if api is None:
        return run("plan", "-f", "-", *where, text=text)
    with api.running() as server:
        return run("plan", "-f", "-", "--server", server, *where, text=text)


def test_a_plan_is_of_what_apply_would_make_of_the_live_set(balancer, where) -> None:
    balancer.answers["POST"] = answer(**TOLD)
    balancer.answers["GET"] = answer(uid="uid-1", members=[])
    api = scripted_api.ScriptedApi()
    api.document["metadata"]["uid"] = "uid-1"
    manifest = yaml.safe_dump(simulation.document(4))
    done = planned(where, manifest, api)
    assert (done.exit_code, done.stderr) == (0, "")
    assert balancer.sent[-1]["ring"]["scheme"] == "maglev"
    assert len(balancer.sent[-1]["members"]) == 4
    assert api.patches == []


@pytest.mark.parametrize(
    ("uid", "why"),
    [
        (None, "the operator's API has no ServerSet default/web"),
        ("uid-2", "the operator's API has another ServerSet default/web than the balancer"),
        ("unasked", "The connection to the server http://127.0.0.1:1 was refused"),
    ],
)
def test_a_plan_without_the_live_set_says_that_it_takes_defaults(balancer, where, uid, why) -> None:
    balancer.answers["POST"] = answer(**TOLD)
    balancer.answers["GET"] = answer(uid="uid-1", members=[])
    api = scripted_api.ScriptedApi()
    api.document["metadata"]["uid"] = uid
    if uid is None:
        missing = {"reason": "NotFound", "message": "not found"}
        api.answers["GET", scripted_api.SET] = (404, missing)
    manifest = yaml.safe_dump(simulation.document(4))
    done = planned(where, manifest, None if uid == "unasked" else api)
    assert done.exit_code == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("Warning: the plan takes the defaults of what the file does not name")
    assert why in line
    assert balancer.sent[-1]["ring"]["scheme"] == "hrw"


@pytest.mark.parametrize("allowed", ["true", "True", None])
def test_a_plan_would_be_held_back_unless_the_manifest_allows_it(balancer, where, allowed) -> None:
    balancer.answers["POST"] = answer(**TOLD)
    document = simulation.document(4, ring={"maxMovedPercent": 10})
    if allowed:
        document["metadata"]["annotations"] = {"ringmaster.dev/allow-move": allowed}
    done = run("plan", "-f", "-", *where, text=yaml.safe_dump(document))
    assert ("would be held back" in done.output) is (allowed is None)


def test_plan_is_of_one_right_manifest(balancer, where) -> None:
    two = yaml.safe_dump_all([simulation.document(1), simulation.document(2)])
    assert "holds 2 ServerSets" in run("plan", "-f", "-", *where, text=two).stderr
    wrong = yaml.safe_dump(simulation.document(-1))
    done = run("plan", "-f", "-", *where, text=wrong)
    assert (done.exit_code, "spec.replicas" in done.stderr) == (1, True)
    assert balancer.asked == []


def test_a_refused_hash_is_one_line_and_exit_1(balancer, where) -> None:
    refused = json.dumps({"reason": "HashRefused", "message": "reaches 87 of 512 slots"})
    balancer.answers["POST"] = (422, refused.encode(), {})
    manifest = yaml.safe_dump(simulation.document(3, ring={"hash": "m:H"}))
    done = run("plan", "-f", "-", *where, text=manifest)
    assert done.exit_code == 1
    assert done.stderr == "Error from server (HashRefused): reaches 87 of 512 slots\n"


def test_a_picture_goes_to_a_file_or_to_standard_output(balancer, where, tmp_path) -> None:
    draws(balancer, b"<svg/>")
    path = tmp_path / "ring.svg"
    done = run("picture", "-o", str(path), *where)
    assert (done.exit_code, path.read_text()) == (0, "<svg/>\n")
    assert run("picture", "--part", "change", *where).output == "<svg/>\n"
    drawn = [each for each in balancer.asked if "picture" in each]
    assert drawn == ["GET /picture/sheet.svg", "GET /picture/change.svg"]


def test_a_picture_is_utf_8_whatever_the_terminal_is(balancer, where) -> None:
    drawn = "<svg>web-0 → web-1</svg>".encode()
    draws(balancer, drawn)
    runner = click.testing.CliRunner(charset="latin-1")  # as PYTHONIOENCODING=latin-1 makes it
    done = runner.invoke(cli.main, ["picture", *where])
    assert (done.exit_code, done.exception) == (0, None)
    assert done.stdout_bytes == drawn + b"\n"


def test_a_picture_goes_into_a_pipe_and_leaves_a_folder_alone(balancer, where, tmp_path) -> None:
    draws(balancer, b"<svg/>")
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    folder.mkdir()
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()), daemon=True)
    reader.start()
    assert run("picture", "-o", str(pipe), *where).exit_code == 0
    reader.join(5)
    assert (found, pipe.is_fifo()) == (["<svg/>\n"], True)
    before = sorted(tmp_path.rglob("*"))
    done = run("picture", "-o", str(folder), *where)
    assert done.stderr == f"error: {folder} cannot be written: Is a directory\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_no_picture_is_said(balancer, where) -> None:
    draws(balancer, b"")
    assert "has not changed yet" in run("picture", "--part", "change", *where).stderr
    assert run("picture", *where).exit_code == 1


@pytest.mark.parametrize("command", ["picture", "explain --key k"])
@pytest.mark.parametrize("words", ["nope", "-n nope", "web -n nope"])
def test_another_ring_than_the_balancers_is_refused(balancer, where, command, words) -> None:
    draws(balancer, b"<svg/>")
    balancer.answers["GET /v1/rings/default/web/explain?key=k"] = answer(**WAY)
    done = run(*command.split(), *words.split(), *where)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error from server (Not Found): another ring\n"


@pytest.mark.parametrize("command", ["picture", "explain --key k"])
def test_two_names_are_one_too_many(balancer, where, command) -> None:
    done = run(*command.split(), "web", "foo", *where)
    assert (done.exit_code, balancer.asked) == (1, [])
    assert done.stderr == "error: a balancer serves one ring, not web and foo\n"


@pytest.mark.parametrize("command", ["plan -f -", "explain --key k", "picture"])
@pytest.mark.parametrize("body", [b"{}", b"hello"])
def test_what_is_no_balancer_is_one_line_and_exit_1(balancer, where, command, body) -> None:
    for method in ("GET", "POST"):
        balancer.answers[method] = (200, body, {})
    manifest = yaml.safe_dump(simulation.document(4))
    done = run(*command.split(), *where, text=manifest)
    assert (done.exit_code, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error from server (Unknown): what answers at {balancer.url} is no bal")
