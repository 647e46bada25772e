from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ringmaster_operator import errors, observed, store
from ringmaster_operator.store import watchlog


class Clock:
    def __init__(self, now: float = 1_763_863_200.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "state.db"


@pytest.fixture
def kept(path: Path) -> Iterator[store.Store]:
    opened = store.Store(path, clock=Clock())
    yield opened
    opened.close()


def sample(replicas: int = 3) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"replicas": replicas, "names": []}}


def owner_of(document: dict[str, Any]) -> observed.Owner:
    metadata = document["metadata"]
    return observed.Owner(metadata["namespace"], metadata["name"], metadata["uid"])


def scaled(to: int) -> Any:
    def change(document: dict[str, Any]) -> dict[str, Any]:
        document["spec"]["replicas"] = to
        return document

    return change


def test_a_new_set_is_given_its_identity_and_nothing_that_the_server_owns_is_taken_over(
    kept: store.Store,
) -> None:
    document = sample()
    document["metadata"] |= {
        "uid": "mine",
        "generation": 9,
        "managedFields": [],
        "labels": {"a": "b"},
    }
    document["status"] = {"replicas": 7}
    made = kept.create("default", "web", document)
    metadata = made["metadata"]
    assert metadata["uid"] != "mine"
    assert (metadata["generation"], metadata["resourceVersion"]) == (1, "1")
    assert metadata["creationTimestamp"] == "2025-11-23T02:00:00Z"
    assert metadata["labels"] == {"a": "b"}
    assert "managedFields" not in metadata
    assert "status" not in made
    assert kept.get("default", "web") == made


def test_a_name_is_unique_in_its_namespace_only(kept: store.Store) -> None:
    kept.create("default", "web", sample())
    kept.create("other", "web", sample())
    with pytest.raises(errors.AlreadyExistsError):
        kept.create("default", "web", sample())
    assert len(kept.list().items) == 2
    assert len(kept.list("other").items) == 1


def test_the_generation_rises_with_the_spec_and_only_then(kept: store.Store) -> None:
    made = kept.create("default", "web", sample())

    def annotate(document: dict[str, Any]) -> dict[str, Any]:
        document["metadata"]["annotations"] = {"a": "b"}
        return document

    noted = kept.update("default", "web", annotate)
    grown = kept.update("default", "web", scaled(5))
    kept.write_status(owner_of(made), {"replicas": 5})
    stated = kept.get("default", "web")
    assert stated is not None
    assert [d["metadata"]["generation"] for d in (made, noted, grown, stated)] == [1, 1, 2, 2]
    assert [d["metadata"]["resourceVersion"] for d in (made, noted, grown, stated)] == list("1234")


def test_a_write_that_changes_nothing_takes_no_version(kept: store.Store) -> None:
    made = kept.create("default", "web", sample())
    kept.update("default", "web", scaled(3))
    kept.write_status(owner_of(made), {"replicas": 3})
    version = kept.list().version
    kept.write_status(owner_of(made), {"replicas": 3})
    kept.consume(owner_of(made), names=["S5"])
    assert kept.list().version == version == 2


def test_a_writer_with_an_old_version_is_told_of_the_conflict(kept: store.Store) -> None:
    made = kept.create("default", "web", sample())
    kept.update("default", "web", scaled(5))
    with pytest.raises(errors.ConflictError):
        kept.update("default", "web", lambda _: made)
    with pytest.raises(errors.ConflictError):
        kept.update("default", "web", lambda now: now | {"metadata": {"uid": "another"}})


def test_a_refused_change_leaves_nothing_behind(kept: store.Store) -> None:
    made = kept.create("default", "web", sample())

    def refuse(document: dict[str, Any]) -> dict[str, Any]:
        document["spec"]["replicas"] = 99
        raise errors.SpecInvalidError((errors.Fault("spec.replicas", "too many"),))

    with pytest.raises(errors.SpecInvalidError):
        kept.update("default", "web", refuse)
    assert kept.get("default", "web") == made
    assert kept.update("default", "web", scaled(4))["metadata"]["resourceVersion"] == "2"


def test_a_dry_run_shows_the_outcome_and_writes_nothing(kept: store.Store) -> None:
    assert kept.create("default", "web", sample(), dry_run=True)["metadata"]["uid"]
    assert kept.list() == store.Listing((), 0)
    kept.create("default", "web", sample())
    shown = kept.update("default", "web", scaled(9), dry_run=True)
    assert (shown["spec"]["replicas"], shown["metadata"]["generation"]) == (9, 2)
    kept.delete("default", "web", dry_run=True)
    assert kept.list().version == 1


def test_a_deleted_set_stays_until_it_is_forgotten(kept: store.Store) -> None:
    made = kept.create("default", "web", sample())
    owner = owner_of(made)
    kept.forget(owner)  # not deleted: stays
    marked = kept.delete("default", "web")
    assert marked["metadata"]["deletionTimestamp"] == "2025-11-23T02:00:00Z"
    assert kept.delete("default", "web") == marked
    kept.forget(owner)
    assert kept.get("default", "web") is None
    changes = kept.changes("serversets", since=0)
    assert [c.type for c in changes] == ["ADDED", "MODIFIED", "DELETED"]
    assert changes[-1].document["metadata"]["resourceVersion"] == "3"


def test_a_successor_of_the_same_name_is_another_object(kept: store.Store) -> None:
    old = owner_of(kept.create("default", "web", sample()))
    kept.delete("default", "web")
    kept.forget(old)
    new = kept.create("default", "web", sample())
    kept.delete("default", "web")
    kept.forget(old)
    assert kept.get("default", "web") is not None
    with pytest.raises(errors.NotFoundError):
        kept.write_status(old, {"replicas": 1})
    assert owner_of(new) != old


def test_conditions_that_others_wrote_stay(kept: store.Store) -> None:
    owner = owner_of(kept.create("default", "web", sample()))
    kept.update_status(
        "default",
        "web",
        lambda now: now | {"status": {"conditions": [{"type": "Theirs"}, {"type": "Ready"}]}},
    )
    kept.write_status(owner, {"conditions": [{"type": "Ready", "status": "True"}]})
    stated = kept.get("default", "web")
    assert stated is not None
    assert stated["status"]["conditions"] == [
        {"type": "Ready", "status": "True"},
        {"type": "Theirs"},
    ]


def test_used_names_and_gone_victims_leave_the_spec(kept: store.Store) -> None:
    document = sample()
    document["spec"] |= {"names": ["a", "b"], "scaleDown": {"victims": ["x", "y"]}}
    owner = owner_of(kept.create("default", "web", document))
    kept.consume(owner, names=["a"], victims=["y", "z"])
    now = kept.get("default", "web")
    assert now is not None
    assert now["spec"]["names"] == ["b"]
    assert now["spec"]["scaleDown"] == {"victims": ["x"]}


def test_watchers_continue_a_list_and_are_sent_back_when_they_come_too_late(path: Path) -> None:
    kept = store.Store(path)
    made = kept.create("default", "web", sample())
    listed = kept.list().version
    for count in range(1_001):
        kept.update("default", "web", scaled(count))
    kept.event(owner_of(made), kind="Normal", reason="Made", message="it")
    newer = kept.changes("serversets", since=listed + 1)
    assert [c.version for c in newer] == list(range(listed + 2, listed + 1_002))
    assert [c.type for c in kept.changes("events", since=listed)] == ["ADDED"]
    for version in (0, listed - 1, 99_999):
        with pytest.raises(watchlog.ExpiredError):
            kept.changes("serversets", since=version)
    kept.close()


def test_a_restart_forgets_nothing_and_goes_on_with_the_versions(path: Path) -> None:
    first = store.Store(path)
    made = first.create("default", "web", sample())
    first.event(owner_of(made), kind="Normal", reason="Made", message="it")
    epoch = first.raise_epoch()
    first.close()
    again = store.Store(path)
    assert again.get("default", "web") == made
    assert again.list().version == 2
    assert again.changes("serversets", since=2) == []
    assert len(again.events().items) == 1
    assert again.epoch() == epoch
    again.close()


def test_each_life_has_a_higher_epoch_than_all_that_are_known(path: Path) -> None:
    clock = Clock(now=1_000.0)
    kept = store.Store(path, clock=clock)
    assert kept.raise_epoch() == 1_000_001
    assert kept.raise_epoch() == 1_000_002
    assert kept.raise_epoch(known=5_000_000) == 5_000_001
    clock.now = 1.0  # a clock that was set back
    assert kept.raise_epoch() == 5_000_002
    kept.close()


def test_the_same_event_is_counted_and_the_oldest_go(path: Path) -> None:
    clock = Clock()
    kept = store.Store(path, clock=clock, kept_events=3)
    owner = owner_of(kept.create("default", "web", sample()))
    kept.event(owner, kind="Warning", reason="Failed", message="exit 1")
    clock.now += 60
    for number in range(3):
        kept.event(owner, kind="Normal", reason="Made", message=f"web-{number}")
        kept.event(owner, kind="Warning", reason="Failed", message="exit 1")
    documents = kept.events("default").items
    assert [d["message"] for d in documents] == ["web-1", "web-2", "exit 1"]
    assert (documents[-1]["count"], documents[-1]["type"]) == (4, "Warning")
    assert documents[-1]["firstTimestamp"] < documents[-1]["lastTimestamp"]
    assert documents[-1]["involvedObject"]["uid"] == owner.uid
    assert kept.events("other").items == ()
    kept.close()


def test_subscribers_hear_of_each_write_after_it_is_done(kept: store.Store) -> None:
    heard: list[tuple[str, int]] = []

    def hear(change: watchlog.Change) -> None:
        heard.append((change.type, kept.list().version))  # may read: no lock is held

    end = kept.subscribe(hear)
    kept.create("default", "web", sample())
    kept.update("default", "web", scaled(5))
    end()
    end()
    kept.delete("default", "web")
    assert heard == [("ADDED", 1), ("MODIFIED", 2)]


def test_changes_from_many_threads_all_take_effect(kept: store.Store) -> None:
    kept.create("default", "web", sample(replicas=0))

    def one_more(document: dict[str, Any]) -> dict[str, Any]:
        document["spec"]["replicas"] += 1
        return document

    def work() -> None:
        for _ in range(10):
            kept.update("default", "web", one_more)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = kept.get("default", "web")
    assert now is not None
    assert (now["spec"]["replicas"], now["metadata"]["generation"]) == (40, 41)
    assert [c.version for c in kept.changes("serversets", since=0)] == list(range(1, 42))


def test_a_change_is_made_outside_the_lock_and_anew_when_somebody_else_has_written(
    kept: store.Store,
) -> None:
    kept.create("default", "web", sample())
    seen = []

    def change(document: dict[str, Any]) -> dict[str, Any]:
        seen.append(document["spec"]["replicas"])
        if len(seen) == 1:
            elsewhere(kept.update, "default", "web", scaled(4))
        return scaled(document["spec"]["replicas"] + 1)(document)

    now = kept.update("default", "web", change)
    assert seen == [3, 4]
    assert (now["spec"]["replicas"], now["metadata"]["generation"]) == (5, 3)


def test_the_status_and_the_rest_are_written_past_each_other(kept: store.Store) -> None:
    owner = owner_of(kept.create("default", "web", sample()))
    seen = []

    def slowly(document: dict[str, Any]) -> dict[str, Any]:
        seen.append("spec")
        elsewhere(kept.write_status, owner, {"replicas": 3})
        return scaled(5)(document)

    def told(document: dict[str, Any]) -> dict[str, Any]:
        seen.append("status")
        elsewhere(kept.update, "default", "web", scaled(6))
        return document | {"status": {"replicas": 5}}

    now = kept.update("default", "web", slowly)
    assert (now["spec"]["replicas"], now["status"]) == (5, {"replicas": 3})
    now = kept.update_status("default", "web", told)
    assert (now["spec"]["replicas"], now["status"]) == (6, {"replicas": 5})
    assert seen == ["spec", "status"]
    assert kept.get("default", "web") == now
    changes = kept.changes("serversets", since=0)
    assert [c.previous for c in changes[1:]] == [c.document for c in changes[:-1]]


def elsewhere(write: Callable[..., Any], *arguments: Any) -> None:
    """In another thread, waited for."""
    thread = threading.Thread(target=write, args=arguments)
    thread.start()
    thread.join()


def test_a_write_that_the_disk_refuses_is_to_be_tried_again(kept: store.Store, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    kept._database._connection.execute("PRAGMA busy_timeout = 10")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(errors.RetryLater, match="state file failed"):
        kept.create("default", "web", sample())
    other.execute("ROLLBACK")
    other.close()
    assert kept.create("default", "web", sample())["metadata"]["resourceVersion"] == "1"
