"""Sums over workers, in the shape that the data plane counts in."""

from __future__ import annotations

from ringmaster_balancer.control import counters
from ringmaster_balancer.dataplane import proxy


def stats(requests=1, *, codes=2, replica="a-1"):
    return {
        "worker": 0,
        "connections": 2,
        "accepted": 3,
        "requests": requests,
        "own": {"503": 1},
        "durations": {"bounds": [0.1, 1], "counts": [1, 0, 2], "sum": 1.5},
        "members": [
            {
                "id": "a",
                "replica": replica,
                "address": "x:1",
                "healthy": True,
                "ejected": True,
                "inFlight": 1,
                "idle": 1,
                "codes": {"200": codes},
                "durations": {"bounds": [0.1, 1], "counts": [0, 1, 0], "sum": 0.5},
                "failures": 1,
                "retries": 0,
                "connects": 4,
                "bytesIn": 5,
                "bytesOut": 6,
            }
        ],
    }


def test_counters_are_added_leaf_by_leaf():
    total = counters.total([stats(1), stats(10, codes=5), {}])
    assert (total["requests"], total["connections"], total["own"]) == (11, 4, {"503": 2})
    assert total["durations"] == {"bounds": [0.1, 1], "counts": [2, 0, 4], "sum": 3.0}
    (member,) = total["members"]
    assert (member["codes"], member["bytesIn"], member["inFlight"]) == ({"200": 7}, 10, 2)
    assert member["ejected"]
    assert member["durations"]["counts"] == [0, 2, 0]


def test_another_replica_is_counted_by_itself():
    total = counters.total([stats(), stats(replica="a-2")])
    assert [member["replica"] for member in total["members"]] == ["a-1", "a-2"]


def test_a_worker_that_ended_keeps_its_counts_and_nothing_that_it_held():
    kept = counters.total([counters.ended(stats())])
    (member,) = kept["members"]
    assert (kept["requests"], kept["connections"]) == (1, 0)
    assert (member["codes"], member["inFlight"], member["ejected"]) == ({"200": 2}, 0, False)
    assert counters.ended({}) == {}


def test_a_worker_that_ended_before_its_first_report_adds_nothing():
    nothing = counters.total([counters.ended({})])
    assert counters.total([nothing, stats()]) == counters.total([stats()])


def test_the_data_planes_own_counts_have_this_shape():
    real = proxy.DataPlane().stats()
    assert set(counters.total([real])) <= set(real)
    assert set(counters._COUNTERS) <= set(real)
