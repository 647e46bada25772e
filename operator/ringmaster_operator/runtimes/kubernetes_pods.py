"""Pods as replicas and births as pods: translation between two kinds of document.

Law: pure. What a pod says of itself is believed; whose it is, its controller reference says, never
a label alone.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterator
from typing import Any

from ringmaster_operator import naming, observed

Pod = dict[str, Any]

SERVER_ID = "SERVER_ID"
POD_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_DEFAULT_PORT = 5000
_FIRST_STATUS = 2.0  # s; a kubelet's times are whole seconds, and it says Ready=False at once
_REMEMBERED = 2  # restarts after which the last end still tells of the first minute
# What `ready` says already: a pod whose image is pulled is in no trouble.
_ONLY_STARTS = frozenset({"ContainersNotReady", "ContainersNotInitialized"})


def manifest(birth: observed.Birth) -> Pod:
    """The pod of a birth: the template, who it belongs to, who it is."""
    template = copy.deepcopy(birth.template)
    metadata = template.get("metadata") or {}
    spec = template["spec"]
    _name_server(spec["containers"][0], birth.display_name)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": naming.object_name(birth.name),
            "namespace": birth.owner.namespace,
            "labels": {**(metadata.get("labels") or {}), **naming.labels(birth)},
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [naming.owner_reference(birth.owner)],
        },
        "spec": spec,
    }


def dropped(sent: Pod, answered: Pod) -> list[str]:
    """Paths in the template of what was sent and is not in the answer.

    An API server leaves out fields that it does not know, without a word before 1.25. Empty values
    are left out by right, and admission adds what it likes.
    """
    return list(_dropped(sent["spec"], answered.get("spec") or {}, "spec.template.spec"))


def controller(pod: Pod) -> dict[str, Any] | None:
    """The one owner that manages a pod."""
    references = pod["metadata"].get("ownerReferences") or ()
    return next((dict(ref) for ref in references if ref.get("controller")), None)


def labels(pod: Pod) -> dict[str, str]:
    """A pod's labels."""
    return pod["metadata"].get("labels") or {}


def ended(pod: Pod) -> bool:
    """Whether its containers have ended for good."""
    return (pod.get("status") or {}).get("phase") in {"Failed", "Succeeded"}


def replica(pod: Pod, identity: naming.Identity) -> observed.Replica:
    """A pod of ours as it stands."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    phase = _phase(pod)
    running = phase is observed.Phase.RUNNING
    condition = _ready_condition(status)
    ready = running and condition.get("status") == "True"
    changed = _seconds(condition.get("lastTransitionTime"))
    restarts = sum(each.get("restartCount", 0) for each in _containers(status))
    return observed.Replica(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        owner_uid=identity.owner.uid,
        member_id=identity.member_id,
        ordinal=identity.ordinal,
        attempt=identity.attempt,
        reason=identity.reason,
        revision=identity.revision,
        display_name=identity.display_name,
        phase=phase,
        created_at=_seconds(metadata.get("creationTimestamp")) or 0.0,
        ready=ready,
        ready_since=changed if ready else None,
        unready_since=_unready_since(status, changed) if running and not ready else None,
        address=_address(pod),
        restarts=restarts,
        deletion_cost=_deletion_cost(metadata.get("annotations") or {}),
        message=_message(status),
    )


def _dropped(sent: Any, answered: Any, path: str) -> Iterator[str]:
    if isinstance(sent, dict) and isinstance(answered, dict):
        for key, value in sent.items():
            if key in answered:
                yield from _dropped(value, answered[key], f"{path}.{key}")
            elif value:
                yield f"{path}.{key}"
    elif isinstance(sent, list) and isinstance(answered, list):
        for index, value in enumerate(sent):
            # Admission may put its own before ours: the one that is most like it, first its own.
            likely = [*answered[index : index + 1], *answered]
            missing = [list(_dropped(value, each, f"{path}[{index}]")) for each in likely]
            yield from min(missing, key=len, default=[])


def _name_server(container: dict[str, Any], display_name: str) -> None:
    """Tell the first container who it is; first, so that other variables can refer to it."""
    env = container.get("env") or []
    if not any(variable.get("name") == SERVER_ID for variable in env):
        container["env"] = [{"name": SERVER_ID, "value": display_name}, *env]


def _phase(pod: Pod) -> observed.Phase:
    """A container that crashed is its kubelet's to restart: the pod runs on, unready.

    Unknown (its node is gone) is taken as running and unready: it may come back, and if it does
    not, it is replaced after `unhealthyAfterSeconds` like any other.
    """
    if pod["metadata"].get("deletionTimestamp"):
        return observed.Phase.TERMINATING
    if ended(pod):
        return observed.Phase.FAILED
    phase = (pod.get("status") or {}).get("phase")
    return observed.Phase.STARTING if phase in {None, "Pending"} else observed.Phase.RUNNING


def _ready_condition(status: dict[str, Any]) -> dict[str, Any]:
    conditions = status.get("conditions") or ()
    return next((dict(each) for each in conditions if each.get("type") == "Ready"), {})


def _unready_since(status: dict[str, Any], changed: float | None) -> float | None:
    """Ready is False from the first second on; until its containers ran it was starting, not sick.

    Once it has been ready, it has been unready since `changed`, whatever has restarted.
    """
    began = _seconds(status.get("startTime"))
    if changed is None or (began is not None and changed > began + _FIRST_STATUS):
        return changed
    starts = map(_early_start, _containers(status))
    return max([changed, *(start for start in starts if start is not None)])


def _early_start(container: dict[str, Any]) -> float | None:
    """When a container ran first, or nearly so; None once the kubelet has forgotten that."""
    restarts = container.get("restartCount", 0)
    if restarts > _REMEMBERED:
        return None
    state = container.get("lastState" if restarts else "state") or {}
    known = state.get("terminated") or state.get("running") or {}
    return _seconds(known.get("startedAt"))


def _address(pod: Pod) -> str | None:
    ip = (pod.get("status") or {}).get("podIP")
    if not ip:
        return None
    return f"[{ip}]:{_port(pod)}" if ":" in ip else f"{ip}:{_port(pod)}"


def _port(pod: Pod) -> int:
    """The port that serves, by the rule of `template.Container.port`."""
    ports = pod["spec"]["containers"][0].get("ports") or []
    named = [port["containerPort"] for port in ports if port.get("name") == "http"]
    return int((named or [port["containerPort"] for port in ports] or [_DEFAULT_PORT])[0])


def _containers(status: dict[str, Any]) -> list[dict[str, Any]]:
    return list(status.get("containerStatuses") or ())


def _deletion_cost(annotations: dict[str, str]) -> int:
    """Ours before Kubernetes' own; what is no number counts as 0, as in Kubernetes."""
    for key in (naming.ANNOTATION_DELETION_COST, POD_DELETION_COST):
        try:
            return int(annotations[key])
        except (KeyError, ValueError):
            continue
    return 0


def _message(status: dict[str, Any]) -> str:
    """What a pod says of its trouble, if it has any."""
    said = [status.get("reason"), status.get("message")]
    for each in _containers(status):
        state = each.get("state") or {}
        said += _trouble(state.get("waiting") or {}) + _exit(state.get("terminated") or {})
    if (status.get("phase") == "Pending") and not any(said):
        said += [
            c.get("message")
            for c in status.get("conditions") or ()
            if c["status"] == "False" and c.get("reason") not in _ONLY_STARTS
        ]
    return ": ".join(dict.fromkeys(text for text in said if text))


def _trouble(waiting: dict[str, Any]) -> list[str | None]:
    if waiting.get("reason") in {None, "ContainerCreating", "PodInitializing"}:
        return []
    return [waiting["reason"], waiting.get("message")]


def _exit(terminated: dict[str, Any]) -> list[str | None]:
    if not terminated or not terminated.get("exitCode"):
        return []
    return [
        terminated.get("reason"),
        observed.exited(terminated["exitCode"]),
        terminated.get("message"),
    ]


def _seconds(text: str | None) -> float | None:
    return None if not text else dt.datetime.fromisoformat(text).timestamp()
