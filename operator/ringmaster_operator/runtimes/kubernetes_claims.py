"""Whose a pod is: adopt, keep, release or leave it alone, as a ReplicaSet does.

Law: pure. The rules are kubernetes' controller_ref_manager.go; besides a controller reference a
replica needs an identity, which an adopted pod is given.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping
from typing import Any

from ringmaster_operator import naming, observed
from ringmaster_operator.runtimes import kubernetes_pods

Pod = kubernetes_pods.Pod
_LABEL_LENGTH = 63


class Claim(enum.Enum):
    """What is to be done about a pod."""

    OURS = "ours"
    IDENTIFY = "identify"  # ours, but its labels do not say which
    ADOPT = "adopt"  # nobody's, and the selector wants it
    RELEASE = "release"  # ours, and the selector wants it no longer
    LEAVE = "leave"


def claim(pod: Pod, *, owner: observed.Owner, selector: Mapping[str, str]) -> Claim:
    """Judge one pod."""
    controller = kubernetes_pods.controller(pod)
    labels = kubernetes_pods.labels(pod)
    wanted = all(labels.get(key) == value for key, value in selector.items())
    if controller is None:
        fit = not pod["metadata"].get("deletionTimestamp") and not kubernetes_pods.ended(pod)
        return Claim.ADOPT if wanted and fit else Claim.LEAVE
    if controller.get("uid") != owner.uid:
        return Claim.LEAVE
    if not wanted:
        return Claim.RELEASE
    return Claim.OURS if identity(pod, owner) else Claim.IDENTIFY


def identity(pod: Pod, owner: observed.Owner) -> naming.Identity | None:
    """Who a pod of ours is, if its labels say so."""
    found = naming.identity(kubernetes_pods.labels(pod))
    return found if found and found.owner == owner else None


def adoption(
    pod: Pod, *, owner: observed.Owner, taken: Collection[int], revision: str
) -> dict[str, Any]:
    """The strategic merge patch that makes a pod ours and gives it a place.

    It keeps the place that it had under an earlier ServerSet of this name if that is not taken;
    `revision` is that of the spec, since a ReplicaSet does not compare templates either.
    """
    before = kubernetes_pods.labels(pod)
    earlier = naming.identity(before)
    if earlier and (earlier.owner.name, earlier.owner.namespace) != (owner.name, owner.namespace):
        earlier = None
    ordinal = earlier.ordinal if earlier else -1
    if ordinal < 0 or ordinal in taken:
        ordinal = next(n for n in range(len(taken) + 1) if n not in taken)
    birth = observed.Birth(
        owner=owner,
        name=pod["metadata"]["name"],
        display_name=earlier.display_name if earlier else _label_value(pod["metadata"]["name"]),
        member_id=naming.member_id(owner.name, ordinal),
        ordinal=ordinal,
        attempt=earlier.attempt if earlier else 1,
        reason=earlier.reason if earlier else observed.Reason.SCALE_UP,
        revision=earlier.revision if earlier else revision,
        template={},
    )
    return _patch(
        pod,
        labels=naming.labels(birth),
        ownerReferences=[naming.owner_reference(owner)],
    )


def release(pod: Pod, owner: observed.Owner) -> dict[str, Any]:
    """The strategic merge patch that lets a pod go its own way."""
    return _patch(
        pod,
        labels={naming.LABEL_SET_UID: None},
        ownerReferences=[{"$patch": "delete", "uid": owner.uid}],
    )


def _patch(pod: Pod, **metadata: Any) -> dict[str, Any]:
    """A patch of this very version of this very pod."""
    given = pod["metadata"]
    fixed = {"uid": given["uid"], "resourceVersion": given["resourceVersion"]}
    return {"metadata": {**fixed, **metadata}}


def _label_value(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+$", "", text[:_LABEL_LENGTH])
