"""ServerSets in the API server."""

from __future__ import annotations

import copy
import dataclasses

import pytest
from fake_api import FakeApi
from ringmaster_operator import errors, memory, naming, observed
from ringmaster_operator.kube import memos, paths, records

SETS = paths.sets("shop")
PATH = paths.sets("shop", "web")
REVISIONS = paths.revisions("shop")
V1 = memory.Revision(hash="v1", number=1, template={"spec": {"image": "v1"}})
V2 = memory.Revision(hash="v2", number=2, template={"spec": {"image": "v2"}})


class World:
    """A fake API server with the ServerSet `web`, and records over it."""

    def __init__(self):
        self.api = FakeApi()
        self.events = []
        made = self.api.put(SETS, self.document())
        self.owner = observed.Owner("shop", "web", made["metadata"]["uid"])
        self.records = self.fresh()

    def fresh(self):
        """Those of another operator."""
        made = records.Records(self.api, post=lambda *args, **how: self.events.append((args, how)))
        made.get("shop", "web")
        return made

    @staticmethod
    def document():
        return {
            "metadata": {"name": "web", "annotations": {"mine": "stays"}},
            "spec": {"replicas": 3, "names": ["S1", "S2"], "scaleDown": {"victims": ["a", "b"]}},
        }

    @property
    def stored(self):
        return self.api.objects[PATH]


@pytest.fixture
def world():
    return World()


def remembered(world, **changes):
    return dataclasses.replace(
        world.records.load_memory(world.owner), **{"epoch": 1, "generation": 1, **changes}
    )


def test_a_set_is_read_from_the_server_each_time(world):
    world.api.edit(PATH, {"spec": {"replicas": 9}})
    assert world.records.get("shop", "web")["spec"]["replicas"] == 9
    assert world.records.get("shop", "other") is None
    assert [d["metadata"]["name"] for d in world.records.list(["shop"])] == ["web"]


def test_a_new_set_has_an_empty_memory(world):
    assert world.records.load_memory(world.owner) == memory.Memory()


def test_what_was_saved_is_known_to_the_next_operator_templates_included(world):
    value = remembered(world, revisions=(V1, V2), current="v1")
    world.records.save_memory(world.owner, value)
    assert world.fresh().load_memory(world.owner) == value
    assert world.stored["metadata"]["annotations"]["mine"] == "stays"
    assert {o["revision"] for p, o in world.api.objects.items() if p.startswith(REVISIONS)} == {
        1,
        2,
    }


def test_templates_are_read_once_and_written_once(world):
    value = remembered(world, revisions=(V1,))
    world.records.save_memory(world.owner, value)
    world.records.save_memory(world.owner, dataclasses.replace(value, generation=2))
    world.records.load_memory(world.owner)
    assert sum(REVISIONS in each for each in world.api.log) == 1
    assert REVISIONS not in world.api.reads
    other = world.fresh()
    other.load_memory(world.owner)
    other.load_memory(world.owner)
    assert world.api.reads.count(REVISIONS) == 1


def test_a_template_goes_after_the_memory_that_names_it(world):
    world.records.save_memory(world.owner, remembered(world, revisions=(V1, V2)))
    world.api.log.clear()
    world.records.save_memory(world.owner, remembered(world, revisions=(V2,), generation=2))
    assert [each.split()[0] for each in world.api.log] == ["PATCH", "DELETE"]
    assert world.fresh().load_memory(world.owner).revisions == (V2,)


def test_a_template_that_somebody_deleted_is_forgotten(world):
    world.records.save_memory(world.owner, remembered(world, revisions=(V1, V2)))
    victim = next(p for p in world.api.objects if p.endswith("v1"))
    del world.api.objects[victim]
    assert world.fresh().load_memory(world.owner).revisions == (V2,)


def test_a_template_created_twice_is_there_once(world):
    world.api.late_faults = [errors.AmbiguousError("timed out")]
    value = remembered(world, revisions=(V1,))
    with pytest.raises(errors.AmbiguousError):
        world.records.save_memory(world.owner, value)
    world.records.save_memory(world.owner, value)
    assert world.fresh().load_memory(world.owner) == value


def test_an_unchanged_memory_is_not_written(world):
    value = remembered(world)
    world.records.save_memory(world.owner, value)
    world.api.log.clear()
    world.records.save_memory(world.owner, value)
    assert world.api.log == []


def test_a_user_who_writes_meanwhile_loses_nothing_and_costs_nothing(world):
    value = remembered(world)
    world.api.meanwhile = [lambda: world.api.edit(PATH, {"spec": {"replicas": 7}})]
    world.records.save_memory(world.owner, value)
    assert world.stored["spec"]["replicas"] == 7
    assert memos.decode(memos.text(world.stored)).epoch == 1


def test_of_two_operators_that_write_a_memory_one_is_told(world):
    mine = remembered(world, epoch=1)
    other = world.fresh()
    theirs = dataclasses.replace(other.load_memory(world.owner), epoch=2)
    other.save_memory(world.owner, theirs)
    with pytest.raises(errors.ConflictError):
        world.records.save_memory(world.owner, mine)
    assert memos.decode(memos.text(world.stored)).epoch == 2


def replaced(world):
    """`kubectl replace`: no annotation is left."""
    annotations = dict.fromkeys(world.stored["metadata"]["annotations"])
    world.api.edit(PATH, {"metadata": {"annotations": annotations}, "spec": {"replicas": 7}})


def test_a_replacement_without_annotations_wipes_no_memory_that_this_operator_knows(world):
    value = remembered(world, revisions=(V1,), current="v1", rolled_back="v2")
    world.records.save_memory(world.owner, value)
    replaced(world)
    world.records.get("shop", "web")
    assert world.records.load_memory(world.owner) == value
    assert world.fresh().load_memory(world.owner) == value
    assert world.stored["spec"]["replicas"] == 7
    world.api.log.clear()
    world.records.get("shop", "web")
    world.records.load_memory(world.owner)
    assert world.api.log == []


def test_a_replacement_between_load_and_save_is_no_other_operator(world):
    world.records.save_memory(world.owner, remembered(world))
    value = remembered(world, generation=2)
    world.api.meanwhile = [lambda: replaced(world)]
    world.records.save_memory(world.owner, value)
    assert world.fresh().load_memory(world.owner) == value
    assert world.stored["spec"]["replicas"] == 7


def late(world, monkeypatch):
    """The lab reads a set, and the answer of before is there only when this is called."""
    answer = copy.deepcopy(world.stored)

    def arrive():
        with monkeypatch.context() as patched:
            patched.setattr(world.api, "get", lambda _path: answer)
            assert world.records.sets.get("shop", "web") == answer

    return arrive


def test_an_answer_to_the_lab_that_comes_late_is_no_other_operator(world, monkeypatch):
    world.records.save_memory(world.owner, remembered(world, generation=1))
    arrive = late(world, monkeypatch)
    world.records.save_memory(world.owner, remembered(world, generation=2))
    arrive()
    world.records.save_memory(world.owner, remembered(world, generation=3))
    assert memos.decode(memos.text(world.stored)).generation == 3


def test_a_look_rests_on_what_it_has_read_itself(world, monkeypatch):
    world.records.save_memory(world.owner, remembered(world, generation=1))
    arrive = late(world, monkeypatch)
    world.records.save_memory(world.owner, remembered(world, generation=2))
    world.records.get("shop", "web")
    arrive()
    assert world.records.load_memory(world.owner).generation == 2


def test_the_lab_that_finds_no_set_takes_no_memory_from_a_look(world):
    value = remembered(world, revisions=(V1,))
    world.records.save_memory(world.owner, value)
    gone = world.api.objects.pop(PATH)
    assert world.records.sets.get("shop", "web") is None
    world.api.objects[PATH] = gone
    world.records.get("shop", "web")
    replaced(world)
    world.records.get("shop", "web")
    assert world.records.load_memory(world.owner) == value


def test_a_save_that_was_done_though_it_failed_can_be_repeated(world):
    value = remembered(world)
    world.api.late_faults = [errors.AmbiguousError("timed out")]
    with pytest.raises(errors.AmbiguousError):
        world.records.save_memory(world.owner, value)
    world.records.save_memory(world.owner, value)
    assert memos.decode(memos.text(world.stored)) == value


def test_a_set_made_anew_has_nothing_of_the_old_one(world):
    world.records.save_memory(world.owner, remembered(world, revisions=(V1,)))
    del world.api.objects[PATH]
    world.api.put(SETS, world.document())
    world.records.get("shop", "web")
    for call in (
        lambda: world.records.load_memory(world.owner),
        lambda: world.records.save_memory(world.owner, memory.Memory(epoch=3)),
        lambda: world.records.write_status(world.owner, {"replicas": 1}),
        lambda: world.records.consume(world.owner, names=["S1"]),
    ):
        with pytest.raises(errors.NotFoundError):
            call()


def condition(kind, status="True"):
    return {"type": kind, "status": status}


def test_conditions_of_others_stay_also_those_that_came_meanwhile(world):
    world.api.edit(PATH, {"status": {"conditions": [condition("Theirs")]}})
    world.records.get("shop", "web")
    read = [condition("Theirs"), condition("Gone")]
    world.api.edit(PATH, {"status": {"conditions": read}})
    both = [condition("Theirs", "False"), condition("Late")]
    world.api.meanwhile = [lambda: world.api.edit(PATH, {"status": {"conditions": both}})]
    made = {"replicas": 2, "conditions": [condition("Ready"), *read]}
    world.records.write_status(world.owner, made)
    assert world.stored["status"]["conditions"] == [condition("Ready"), *both]
    assert world.stored["status"]["replicas"] == 2


def test_a_status_that_is_so_already_is_not_written(world):
    status = {"replicas": 2, "conditions": [condition("Ready")]}
    world.records.write_status(world.owner, status)
    world.api.log.clear()
    world.records.write_status(world.owner, copy.deepcopy(status))
    assert world.api.log == []


def test_a_status_changes_nothing_else(world):
    world.records.write_status(world.owner, {"replicas": 2})
    assert world.api.log[-1] == f"PATCH {PATH}/status"
    assert world.stored["spec"] == world.document()["spec"]


def test_used_names_and_gone_victims_leave_the_spec_and_new_ones_stay(world):
    world.api.meanwhile = [lambda: world.api.edit(PATH, {"spec": {"names": ["S1", "S2", "S3"]}})]
    world.records.consume(world.owner, names=["S1"], victims=["b"])
    assert world.stored["spec"]["names"] == ["S2", "S3"]
    assert world.stored["spec"]["scaleDown"]["victims"] == ["a"]


def test_two_lab_requests_at_once_both_take_effect(world):
    def more(document):
        document["spec"]["replicas"] += 1
        return document

    world.api.meanwhile = [lambda: world.fresh().sets.update("shop", "web", more)]
    assert world.records.sets.update("shop", "web", more)["spec"]["replicas"] == 5


def test_a_change_that_is_refused_is_not_written(world):
    def refuse(_document):
        raise errors.UsageError("no")

    with pytest.raises(errors.UsageError):
        world.records.sets.update("shop", "web", refuse)
    assert world.api.log == []
    with pytest.raises(errors.NotFoundError):
        world.records.sets.update("shop", "other", lambda document: document)


def test_a_document_that_changes_all_the_time_is_given_up_for_now(world):
    def edit():
        world.api.edit(PATH, {"metadata": {"labels": {"n": str(len(world.api.log))}}})

    world.api.meanwhile = [edit] * 50
    with pytest.raises(errors.RetryLater, match="all the time"):
        world.records.write_status(world.owner, {"replicas": 2})


def test_subscribers_are_woken_by_writes(world):
    woken = []
    unsubscribe = world.records.sets.subscribe(woken.append)
    world.records.save_memory(world.owner, remembered(world))
    world.records.write_status(world.owner, {"replicas": 2})
    assert len(woken) == 2
    unsubscribe()
    world.records.sets.update("shop", "web", lambda document: document)
    assert len(woken) == 2


def test_events_are_handed_on(world):
    world.records.event(world.owner, kind="Normal", reason="X", message="y")
    assert world.events == [
        ((world.owner,), {"kind": "Normal", "reason": "X", "message": "y"}),
    ]


def test_a_revision_belongs_to_its_set(world):
    world.records.save_memory(world.owner, remembered(world, revisions=(V1,)))
    (revision,) = (o for p, o in world.api.objects.items() if p.startswith(REVISIONS))
    assert revision["metadata"]["ownerReferences"] == [naming.owner_reference(world.owner)]
    assert revision["data"] == {"spec": {"template": V1.template}}
