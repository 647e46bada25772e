"""Whose a pod is: the rules of kubernetes' controller_ref_manager.go."""

from __future__ import annotations

import pytest
from ringmaster_operator import naming, observed
from ringmaster_operator.runtimes import kubernetes_claims
from ringmaster_operator.runtimes.kubernetes_claims import Claim

OWNER = observed.Owner("shop", "web", "u1")
EARLIER = observed.Owner("shop", "web", "u0")
SELECTOR = {"app": "web"}
OURS = naming.owner_reference(OWNER)
THEIRS = {"kind": "ReplicaSet", "name": "x", "uid": "u9", "controller": True}


def labels(owner=OWNER, ordinal=0, **changes):
    birth = observed.Birth(
        owner=owner,
        name="web-0-abcde",
        display_name="S5",
        member_id=f"web-{ordinal}",
        ordinal=ordinal,
        attempt=4,
        reason=observed.Reason.EMERGENCY,
        revision="old",
        template={},
    )
    return {"app": "web", **naming.labels(birth), **changes}


def pod(given=None, *, owners=(), phase="Running", name="p", **metadata):
    return {
        "metadata": {
            "name": name,
            "uid": "p1",
            "resourceVersion": "7",
            "labels": labels() if given is None else given,
            "ownerReferences": list(owners),
            **metadata,
        },
        "status": {"phase": phase},
    }


GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
CASES = [
    ("ours and wanted", pod(owners=[OURS]), Claim.OURS),
    ("ours, relabelled", pod(labels() | {"app": "debug"}, owners=[OURS]), Claim.RELEASE),
    ("ours, without an identity", pod({"app": "web"}, owners=[OURS]), Claim.IDENTIFY),
    ("ours, ended", pod(owners=[OURS], phase="Failed"), Claim.OURS),
    ("ours, going", pod(owners=[OURS], **GOING), Claim.OURS),
    ("ours by label, another's by reference", pod(owners=[THEIRS]), Claim.LEAVE),
    ("of an earlier set of this name", pod(owners=[OURS | {"uid": "u0"}]), Claim.LEAVE),
    ("an orphan that is wanted", pod({"app": "web"}), Claim.ADOPT),
    ("an orphan with all our labels", pod(), Claim.ADOPT),
    ("an owner that is no controller", pod(owners=[OURS | {"controller": False}]), Claim.ADOPT),
    ("an orphan of other labels", pod({"app": "other"}), Claim.LEAVE),
    ("an orphan that is going", pod({"app": "web"}, **GOING), Claim.LEAVE),
    ("an orphan that has ended", pod({"app": "web"}, phase="Succeeded"), Claim.LEAVE),
]


@pytest.mark.parametrize(("given", "claim"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_each_pod_is_claimed_as_a_replica_set_would(given, claim):
    assert kubernetes_claims.claim(given, owner=OWNER, selector=SELECTOR) is claim


def adoption(given, taken=()):
    return kubernetes_claims.adoption(given, owner=OWNER, taken=taken, revision="now")["metadata"]


def test_an_adopted_pod_gets_the_lowest_free_place_and_the_revision_of_the_spec():
    patch = adoption(pod({"app": "web"}, name="stranger"), taken={0, 1, 3})
    given = naming.identity(patch["labels"])
    assert (given.ordinal, given.member_id, given.attempt) == (2, "web-2", 1)
    assert (given.revision, given.display_name) == ("now", "stranger")
    assert patch["ownerReferences"] == [OURS]


def test_it_is_this_very_version_of_this_very_pod_that_is_adopted():
    patch = adoption(pod({"app": "web"}))
    assert (patch["uid"], patch["resourceVersion"]) == ("p1", "7")


def test_one_of_an_earlier_set_of_this_name_keeps_its_place_and_revision():
    given = naming.identity(adoption(pod(labels(EARLIER, ordinal=5)))["labels"])
    assert (given.owner, given.ordinal, given.attempt) == (OWNER, 5, 4)
    assert (given.revision, given.display_name) == ("old", "S5")


def test_if_its_place_is_taken_it_gets_another():
    given = naming.identity(adoption(pod(labels(EARLIER, ordinal=5)), taken={5})["labels"])
    assert (given.ordinal, given.member_id) == (0, "web-0")


def test_one_of_a_set_of_another_name_starts_afresh():
    other = observed.Owner("shop", "api", "u7")
    given = naming.identity(adoption(pod(labels(other, ordinal=5)))["labels"])
    assert (given.ordinal, given.member_id, given.revision) == (0, "web-0", "now")


def test_a_long_name_still_makes_a_label():
    patch = adoption(pod({"app": "web"}, name="a" * 62 + "-" + "b" * 40))
    assert patch["labels"][naming.LABEL_NAME] == "a" * 62


def test_a_released_pod_loses_our_reference_and_our_name_and_nothing_else():
    patch = kubernetes_claims.release(pod(owners=[OURS, THEIRS]), OWNER)["metadata"]
    assert patch["ownerReferences"] == [{"$patch": "delete", "uid": "u1"}]
    assert patch["labels"] == {naming.LABEL_SET_UID: None}
    assert (patch["uid"], patch["resourceVersion"]) == ("p1", "7")
