from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_operator.store import watchlog


def change(version: int, resource: str) -> watchlog.Change:
    return watchlog.Change(version, resource, "MODIFIED", {"metadata": {}})


@given(
    writes=st.lists(st.sampled_from(["serversets", "events"]), max_size=30),
    start=st.integers(0, 5),
    since=st.integers(0, 40),
    size=st.integers(1, 6),
)
def test_a_watcher_gets_every_change_in_order_or_is_told_to_list_again(
    writes: list[str], start: int, since: int, size: int
) -> None:
    log = watchlog.WatchLog(version=start, size=size)
    for version, resource in enumerate(writes, start=start + 1):
        log.append(change(version, resource))
    expected = [
        version
        for version, resource in enumerate(writes, start=start + 1)
        if resource == "events" and version > since
    ]
    try:
        found = [each.version for each in log.since("events", since)]
    except watchlog.ExpiredError:
        assert since < start or since > start + len(writes) or len(expected) > size
    else:
        assert found == expected


def test_changes_of_another_resource_push_nothing_out() -> None:
    log = watchlog.WatchLog(version=0, size=2)
    log.append(change(1, "serversets"))
    for version in range(2, 50):
        log.append(change(version, "events"))
    assert [each.version for each in log.since("serversets", 0)] == [1]
    with pytest.raises(watchlog.ExpiredError):
        log.since("events", 1)
