"""The gate, with real processes where it matters and scripted ones where it does not."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
import uuid

import own_hashes
import psutil
import pytest
from ringmaster_balancer import codes, errors, members
from ringmaster_balancer.control import gate, trial
from ringmaster_balancer.ring import checks, custom, table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return own_hashes.folder(tmp_path_factory.mktemp("hashes"))


@pytest.fixture(autouse=True)
def mark(monkeypatch):
    """What trials inherit tells ours from those of other tests on this machine."""
    monkeypatch.setenv("LANG", f"C.{uuid.uuid4().hex}")


def made(folder, cache, **options):
    options = {"patience": 60, **options}
    return gate.Gate(allowed=codes.Allowed(folder=folder), cache=cache, **options)


def ring(reference, **fields):
    return members.Ring(**{"hash": reference, "slots": 512, **fields})


def refused(door, asked):
    with pytest.raises(gate.HashRefused) as said:
        asyncio.run(door.admit(asked))
    return said.value


def test_what_is_wrong_is_said_once_a_check_with_all_that_it_is_about():
    def fault(*found):
        findings = tuple(
            checks.Finding(check="evenness", good=False, words=words, about=about)
            for about, words in found
        )
        verdict = gate.Verdict(
            reference="m:f", digest="", kind=custom.Kind.KEY, golden=(), findings=findings
        )
        (said,) = verdict.faults
        return said

    assert fault(("uuids", "87 of 512")) == "evenness: uuids: 87 of 512"
    assert (
        fault(("uuids", "87 of 512"), ("words", "9")) == "evenness: uuids: 87 of 512 (also words)"
    )
    assert fault(("", "one has 3"), ("", "one has 4")) == "evenness: one has 3 (also one has 4)"
    assert fault(("", "the same"), ("", "the same")) == "evenness: the same"


def test_our_own_hashes_need_no_gate(tmp_path):
    assert asyncio.run(made(None, tmp_path).admit(members.Ring())) is None
    ketama = members.Ring(scheme="ketama", hash="m:f")  # the ring's own rules refuse it
    assert asyncio.run(made(None, tmp_path).admit(ketama)) is None


@pytest.mark.parametrize(
    ("reference", "fields", "kind"),
    [
        ("good:blake", {}, custom.Kind.KEY),
        ("fib:fibonacci", {}, custom.Kind.REQUEST),
        ("schemes:rendezvous", {"scheme": "custom"}, custom.Kind.FILL),
        # Where it is asked for by name, on the ring that is uneven by construction:
        ("students:H", {"scheme": "classic"}, custom.Kind.REQUEST),
        ("students:modulo", {"scheme": "classic"}, custom.Kind.REQUEST),
    ],
)
def test_what_is_good_enough_is_admitted(folder, tmp_path, reference, fields, kind):
    own = asyncio.run(made(folder, tmp_path).admit(ring(reference, **fields)))
    assert own.code.kind is kind
    assert own.code.reference == reference


@pytest.mark.parametrize(
    ("reference", "fields", "words"),
    [
        ("students:H", {}, "reaches 87 of 512 slots"),
        ("students:modulo", {}, "avalanche"),
        ("students:phi", {}, "needs scheme custom"),
        ("students:ring", {"scheme": "custom"}, "times its share"),
        ("bad:seeded", {}, "in one process"),
        ("bad:crc", {}, "reach 1 slots"),
        ("bad:fnv", {}, "chi-square"),
        ("bad:counter", {}, "second time"),
        ("bad:negative", {}, "between -1 and -1"),
        ("bad:too_large", {}, "range"),
        ("bad:text", {}, "is no integer"),
        ("bad:floating", {}, "no integer"),
        ("bad:slow", {}, "µs for a key"),
        ("bad:leaves", {}, "ended with code 3"),
        ("bad:three", {}, "takes 3 values"),
        ("schemes:round_robin", {"scheme": "custom"}, "one member more or less moves"),
        ("broken:f", {}, "SyntaxError"),
        ("absent:f", {}, "no absent.py"),
    ],
)
def test_what_is_not_is_refused_with_its_numbers(folder, tmp_path, reference, fields, words):
    error = refused(made(folder, tmp_path), ring(reference, **fields))
    assert words in str(error)
    assert error.faults[0].path == "ring.hash"
    document = error.verdict.to_document()
    assert document["accepted"] is False
    assert any(not finding["good"] for finding in document["findings"])


def test_a_function_that_never_returns_is_ended_with_all_it_started(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "LIMIT_SECONDS", 1.0)
    error = refused(made(folder, tmp_path), ring("bad:endless"))
    assert "not done after 1 s" in str(error)
    assert ended()


def trials():
    """Those of ours that still run, wherever they were adopted."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "environ", "status"])
        if "ringmaster_balancer.control.trial" in " ".join(process.info["cmdline"] or ())
        and (process.info["environ"] or {}).get("LANG") == os.environ["LANG"]
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def ended():
    """A signal was sent to the last of them; who is no child of ours dies a moment later."""
    deadline = time.monotonic() + 20
    while left := trials():
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
    return True


def test_a_function_that_computes_without_end_is_ended_by_its_cpu_time(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(trial, "CPU_SECONDS", 1)
    assert "more than 1 s of CPU time" in str(refused(made(folder, tmp_path), ring("bad:endless")))
    assert ended()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("memory", "MemoryError"),
        ("prints", "File too large"),
        ("forks", "reach 1 slots"),  # judged as any other, and its children are gone
        ("forks_silently", "its process ended with code 0"),
    ],
)
def test_a_function_that_takes_all_it_can_get_is_bounded(folder, tmp_path, name, words):
    assert words in str(refused(made(folder, tmp_path), ring(f"hogs:{name}")))
    assert ended()


def test_trials_run_one_after_the_other(folder, tmp_path):
    running = []

    async def counted(order, seed):
        assert not running
        running.append(seed)
        await asyncio.sleep(0)
        running.clear()
        return {"kind": "key", "golden": [], "findings": []}

    asyncio.run(made(folder, tmp_path, run=counted).admit(ring("good:blake")))


WEB = [("web-1", 100), ("web-0", 100)]


def test_a_scheme_of_ones_own_places_members_in_a_process_of_its_own(folder, tmp_path):
    async def scenario():
        door = made(folder, tmp_path)
        asked = ring("hogs:places_after_all", scheme="custom")
        own = await door.admit(asked)
        compiled = table.compile(asked, WEB, own=await door.placed(own, asked, WEB))
        again = ring("schemes:rendezvous", scheme="custom")
        same = await door.placed(await door.admit(again), again, WEB)
        assert compiled.candidates == table.compile(again, WEB, own=same).candidates
        with pytest.raises(errors.RingInvalid, match="other members"):
            table.compile(again, [*WEB, ("web-2", 100)], own=same)
        assert await door.placed(own, asked, []) is own  # nobody to place

    asyncio.run(scenario())


def test_a_scheme_that_does_not_come_to_an_end_is_refused_and_holds_up_nothing(
    folder, tmp_path, monkeypatch
):
    async def scenario():
        door = made(folder, tmp_path)
        asked = ring("hogs:places_slowly", scheme="custom")
        own = await door.admit(asked)  # it is good to all but these
        monkeypatch.setattr(trial, "CPU_SECONDS", 1)
        door._patience = 0.05
        with pytest.raises(gate.OnTrial, match="placing 2 members"):
            await door.placed(own, asked, WEB)
        door._patience = 60
        with pytest.raises(gate.HashRefused, match="1 s of CPU time"):
            await door.placed(own, asked, WEB)

    asyncio.run(scenario())
    assert ended()


class Scripted:
    """Results by hand, and how often they were asked for."""

    def __init__(self, **result):
        self.runs = 0
        self.hold = asyncio.Event()
        self.hold.set()
        finding = {"check": "cost", "good": True, "words": "", "about": "", "measured": 1.0}
        self.result = {"kind": "key", "golden": [], "findings": [finding], **result}

    async def __call__(self, _order, _seed):
        self.runs += 1
        await self.hold.wait()
        return self.result


def test_the_same_text_is_tried_once_even_by_the_next_process(folder, tmp_path):
    script = Scripted()
    asyncio.run(made(folder, tmp_path, run=script).admit(ring("good:blake")))
    assert script.runs == 3
    asyncio.run(made(folder, tmp_path, run=script).admit(ring("good:blake")))
    assert script.runs == 3
    asyncio.run(made(folder, tmp_path, run=script).admit(ring("good:blake", slots=1024)))
    assert script.runs == 6  # another ring asks for another judgement


def test_another_text_is_tried_anew(tmp_path):
    script = Scripted()
    for text in (own_hashes.GOOD, own_hashes.GOOD + "# changed\n"):
        (tmp_path / "good.py").write_text(text)
        asyncio.run(made(tmp_path, tmp_path / "c", run=script).admit(ring("good:blake")))
    assert script.runs == 6


def test_an_aborted_trial_is_tried_again_after_a_while(folder, tmp_path):
    late = {"check": "time", "good": False, "words": "late", "about": "", "measured": None}
    script = Scripted(kind=None, findings=[late], aborted=True)
    now = [0.0]
    door = made(folder, tmp_path, run=script, clock=lambda: now[0])
    for moment, runs in ((0.0, 1), (59.0, 1), (61.0, 2)):
        now[0] = moment
        refused(door, ring("good:blake"))
        assert script.runs == runs


def test_a_folder_for_temporary_files_that_is_gone_is_said(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    error = refused(made(folder, tmp_path), ring("good:blake"))
    assert "it cannot be tried here: No such file or directory" in str(error)


def test_a_push_does_not_wait_for_a_long_trial_and_the_next_one_finds_its_end(folder, tmp_path):
    async def scenario():
        script = Scripted()
        script.hold.clear()
        door = made(folder, tmp_path, run=script, patience=0.01)
        for _ in range(2):
            with pytest.raises(gate.OnTrial):
                await door.admit(ring("good:blake"))
        assert script.runs == 1  # one trial, whoever waits for it
        script.hold.set()
        await asyncio.gather(*door._trials.values())
        assert (await door.admit(ring("good:blake"))).code.reference == "good:blake"

    asyncio.run(scenario())


def test_what_serves_is_restored_though_its_file_has_changed_or_gone(tmp_path):
    path = tmp_path / "good.py"
    path.write_text(own_hashes.GOOD)
    door = made(tmp_path, tmp_path / "c")
    own = asyncio.run(door.admit(ring("good:blake")))
    door.keep(own)
    path.unlink()
    again = asyncio.run(made(tmp_path, tmp_path / "c").restored(ring("good:blake")))
    assert again == own
    refused(made(tmp_path, tmp_path / "c"), ring("good:blake"))
    with pytest.raises(gate.HashRefused):  # of another name nothing was kept
        asyncio.run(made(tmp_path, tmp_path / "c").restored(ring("other:blake")))
