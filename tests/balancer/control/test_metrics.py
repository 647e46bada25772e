"""What a scrape says, read with prometheus-client's own parser."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import parser
from ringmaster_balancer import members
from ringmaster_balancer.control import counters, metrics, ordering
from ringmaster_balancer.dataplane import proxy

MEMBERSHIP = members.parse(
    {
        "epoch": 3,
        "generation": 4,
        "uid": "u",
        "replicas": 1,
        "members": [
            {"id": "a", "replica": "a-1", "address": "127.0.0.1:1", "state": "active"},
            {"id": "b", "replica": "b-1", "address": "127.0.0.1:2", "state": "draining"},
        ],
    }
)
HELD = ordering.Held(membership=MEMBERSHIP, checksum="c", source=ordering.Source.PUSH, pushed_at=0)


def scraped(numbers):
    text, content_type = metrics.text(numbers)
    assert content_type.startswith("text/plain")
    families = list(parser.text_string_to_metric_families(text.decode()))
    samples = {}
    for family in families:
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, *sorted(sample.labels.values()))
            assert key not in samples, key
            samples[key] = sample.value
    return samples


def entry(name, replica, address, **fields):
    names = ("inFlight", "idle", "failures", "retries", "connects", "bytesIn", "bytesOut")
    zero = dict.fromkeys(names, 0)
    who = {"id": name, "replica": replica, "address": address}
    durations = {"bounds": [0.1, 1], "counts": [2, 1, 1], "sum": 7.5}
    codes = {"200": 3, "503": 1}
    return {**who, **zero, "ejected": False, "codes": codes, "durations": durations, **fields}


def test_a_balancer_without_a_ring_says_so():
    samples = scraped(metrics.Numbers(held=None, workers=1, workers_expected=2))
    assert samples["ringmaster_balancer_epoch",] == 0
    assert samples["ringmaster_balancer_membership_pushed",] == 0
    assert samples["ringmaster_balancer_workers_expected",] == 2


def test_members_have_their_state_health_and_load():
    samples = scraped(metrics.Numbers(held=HELD, healthy={"a-1": True}, in_flight={"b-1": 2}))
    name = "ringmaster_balancer_member_"
    assert [samples[name + "active", "a", "a-1"], samples[name + "active", "b", "b-1"]] == [1, 0]
    assert [samples[name + "healthy", "a", "a-1"], samples[name + "healthy", "b", "b-1"]] == [1, 0]
    assert samples[name + "in_flight", "b", "b-1"] == 2


def test_responses_are_counted_by_member_and_code():
    plane = proxy.DataPlane().stats()
    gone = entry("a", "a-1", "127.0.0.1:9")
    plane["members"] = [entry("a", "a-1", "127.0.0.1:1", bytesIn=9), gone]
    plane["own"] = {"503": 4}
    samples = scraped(metrics.Numbers(held=HELD, stats=counters.total([plane, plane])))
    name = "ringmaster_balancer_"
    assert samples[name + "member_responses_total", "200", "a", "a-1"] == 6
    assert samples[name + "member_response_bytes_total", "a", "a-1"] == 18
    assert samples[name + "own_answers_total", "503"] == 8


def test_durations_are_a_histogram():
    plane = proxy.DataPlane()
    plane.buckets[0], plane.buckets[-1], plane.seconds = 2, 1, 20.5
    samples = scraped(metrics.Numbers(held=HELD, stats=counters.total([plane.stats()])))
    name = "ringmaster_balancer_request_duration_seconds_"
    assert samples[name + "bucket", "0.0005"] == 2
    assert samples[name + "bucket", "+Inf"] == 3
    assert (samples[name + "count",], samples[name + "sum",]) == (3, 20.5)


def test_durations_of_each_member_are_a_histogram_of_their_own():
    plane = proxy.DataPlane().stats()
    plane["members"] = [
        entry("a", "a-1", "127.0.0.1:1"),
        entry("b", "b-1", "127.0.0.1:2"),  # draining
    ]
    samples = scraped(metrics.Numbers(held=HELD, stats=counters.total([plane, plane])))
    name = "ringmaster_balancer_member_request_duration_seconds_"
    for who in (("a", "a-1"), ("b", "b-1")):
        buckets = [samples[name + "bucket", bound, *who] for bound in ("0.1", "1")]
        assert buckets == [4, 6]
        assert samples[name + "bucket", "+Inf", *who] == samples[name + "count", *who] == 8
        assert samples[name + "sum", *who] == 15


def test_every_metric_is_documented():
    """docs/metrics.md names each, and nothing else."""
    plane = proxy.DataPlane().stats()
    plane["members"] = [entry("a", "a-1", "127.0.0.1:1")]
    text, _ = metrics.text(metrics.Numbers(held=HELD, stats=counters.total([plane])))
    told = {line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE")}
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(ringmaster_balancer_\w+)`", page, re.MULTILINE)) == told
