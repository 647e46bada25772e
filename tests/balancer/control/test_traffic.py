"""Five minutes of requests by slot."""

from __future__ import annotations

from array import array

from ringmaster_balancer.control import traffic


def counted(*counts):
    return array("I", counts).tobytes()


def told(window, now):
    hits = window.hits(now=now)
    return hits.seconds, dict(zip(hits.slots.tolist(), hits.counts.tolist(), strict=True))


def test_workers_counts_are_added_up():
    window = traffic.Window(now=0)
    window.add(counted(1, 0, 5), now=1)
    window.add(counted(2, 0, 1), now=2)
    assert told(window, 3) == (3, {0: 3, 2: 6})


def test_what_is_older_than_five_minutes_is_forgotten():
    window = traffic.Window(now=0)
    for second in range(0, 1_200, 10):
        window.add(counted(1), now=second)
        seconds, hits = told(window, second)
        assert seconds <= traffic.SECONDS + traffic.PIECE_SECONDS
        assert hits[0] <= (traffic.SECONDS + traffic.PIECE_SECONDS) / 10
    assert told(window, 1_199)[1][0] >= traffic.SECONDS / 10
    assert told(window, 10_000)[1] == {}


def test_another_way_of_finding_slots_begins_at_nothing():
    window = traffic.Window(now=0)
    window.add(counted(7), now=5)
    window.begin(now=10)
    assert told(window, 12) == (2, {})
    window.add(counted(0, 1), now=13)
    assert told(window, 14) == (4, {1: 1})


def test_nothing_counted_is_no_error():
    window = traffic.Window(now=0)
    window.add(counted(0, 0), now=1)
    assert told(window, 2) == (2, {})
