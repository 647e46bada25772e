"""One trial: an order in, a result out, whatever the function does."""

from __future__ import annotations

import json
import subprocess
import sys

import own_hashes
from ringmaster_balancer.control import trial


def order(name, text, *, scheme="hrw", slots=512, whole=True):
    return {
        "reference": f"m:{name}",
        "source": text,
        "scheme": scheme,
        "slots": slots,
        "whole": whole,
    }


def bad(result):
    return {finding["check"] for finding in result["findings"] if not finding["good"]}


def test_a_good_hash_comes_with_its_golden_values():
    result = trial.run(order("blake", own_hashes.GOOD))
    assert (result["kind"], bad(result)) == ("key", set())
    short = trial.run(order("blake", own_hashes.GOOD, whole=False))
    assert short["golden"] == result["golden"]
    assert short["findings"] == []


def test_a_good_scheme_does_too():
    result = trial.run(order("rendezvous", own_hashes.SCHEMES, scheme="custom"))
    assert (result["kind"], bad(result)) == ("fill", set())
    assert len(result["golden"]) == 4_096


def test_the_assignments_ring_as_a_scheme_is_as_uneven_as_it_is():
    result = trial.run(order("ring", own_hashes.ASSIGNMENT, scheme="custom"))
    # Its virtual servers go by a member's place in the list, so the first one's end moves all.
    assert bad(result) == {"evenness", "moves"}


def test_what_the_scheme_cannot_use_is_said():
    assert bad(trial.run(order("blake", own_hashes.GOOD, scheme="custom"))) == {"kind"}
    assert bad(trial.run(order("rendezvous", own_hashes.SCHEMES))) == {"kind"}
    assert bad(trial.run(order("short", own_hashes.SCHEMES, scheme="custom"))) == {"owners"}
    assert bad(trial.run(order("strangers", own_hashes.SCHEMES, scheme="custom"))) == {"owners"}
    assert bad(trial.run(order("nothing", own_hashes.BAD))) == {"load"}
    assert bad(trial.run(order("f", own_hashes.BROKEN))) == {"load"}


def test_a_function_that_prints_does_not_spoil_the_result():
    text = "print('hello')\n" + own_hashes.GOOD.replace("return", "print(key); return")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ringmaster_balancer.control.trial"],
        input=json.dumps(order("blake", text, whole=False)).encode(),
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["kind"] == "key"
    assert b"hello" in done.stderr
