"""Replicas as pods.

Law: translation without decisions. Every look is a list from etcd (no resourceVersion: a quorum
read), never from a cache, so it holds all that this operator has written: measured on the test
cluster, see docs/kubernetes.md.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from ringmaster_operator import errors, naming, observed, ports, spec
from ringmaster_operator.kube import client, paths
from ringmaster_operator.runtimes import kubernetes_claims, kubernetes_pods
from ringmaster_operator.spec import syntax

Pod = kubernetes_pods.Pod


class KubernetesRuntime:
    """Implements `ports.Runtime`.

    `watcher` is what hears of changes: `handlers.Watch.watch`; `post` records an event.
    """

    def __init__(
        self,
        api: client.Api,
        *,
        watcher: Callable[[ports.Notify, threading.Event], None],
        post: Callable[..., None],
    ) -> None:
        self._api = api
        self._watcher = watcher
        self._post = post
        self._told: set[tuple[str, str]] = set()  # templates whose dropped fields were told of
        self._lock = threading.Lock()
        self._selectors: dict[str, dict[str, str]] = {}  # by uid; a selector is immutable
        self._log = structlog.get_logger()

    def check(self, template: dict[str, Any]) -> Sequence[errors.Fault]:
        """A cluster honours everything, or refuses it itself."""
        return spec.unsupported(template, runtime="kubernetes")

    def name_fault(self, name: str) -> str:
        """Lower-cased it is a pod's name, which its label shows as it was asked for."""
        if syntax.is_dns_label(naming.object_name(name)) and syntax.is_label_value(name):
            return ""
        return (
            "no name for a pod: at most 63 letters, digits and '-', a letter or digit at both ends"
        )

    def look(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        """The pods that are marked and controlled as this owner's; nothing is claimed."""
        marked = self._list(owner, f"{naming.LABEL_SET_UID}={owner.uid}")
        return [
            replica
            for pod in marked
            if (kubernetes_pods.controller(pod) or {}).get("uid") == owner.uid
            and (replica := _replica(pod, owner))
        ]

    def observe(self, owner: observed.Owner) -> Sequence[observed.Replica]:
        """Every pod of this owner: for its reconcile only, which is never twice at a time.

        Before, orphans that its selector matches are adopted, and those of its pods released
        that it does not match any longer.
        """
        selector = self._selector(owner)
        if selector is None:
            return ()
        claims = [
            (kubernetes_claims.claim(pod, owner=owner, selector=selector), pod)
            for pod in self._pods(owner, selector)
        ]
        ours = [pod for claim, pod in claims if claim is kubernetes_claims.Claim.OURS]
        for claim, pod in claims:
            if claim is kubernetes_claims.Claim.RELEASE:
                self._release(pod, owner)
        strangers = [
            pod
            for claim, pod in claims
            if claim in {kubernetes_claims.Claim.ADOPT, kubernetes_claims.Claim.IDENTIFY}
        ]
        if strangers:
            ours += self._adopt(strangers, owner, beside=ours)
        return [replica for pod in ours if (replica := _replica(pod, owner))]

    def create(self, birth: observed.Birth) -> None:
        """Create a pod."""
        if fault := self.name_fault(birth.name):
            raise errors.RefusedError(errors.INVALID_NAME, f"{birth.name}: {fault}")
        sent = kubernetes_pods.manifest(birth)
        answered = self._api.create(paths.pods(birth.owner.namespace), sent)
        if missing := kubernetes_pods.dropped(sent, answered):
            self._tell(birth, missing)

    def remove(self, replica: observed.Replica, *, grace_seconds: float) -> None:
        """Delete this very pod. A grace of 0 would forget a pod that may still run: at least 1."""
        try:
            self._api.delete(
                paths.pods(replica.namespace, replica.name),
                uid=replica.uid,
                grace_seconds=max(1, math.ceil(grace_seconds)),
            )
        except (errors.NotFoundError, errors.ConflictError):
            return

    def watch(self, notify: ports.Notify, stop: threading.Event) -> None:
        """Hint at changes until `stop` is set."""
        self._watcher(notify, stop)

    def _tell(self, birth: observed.Birth, missing: Sequence[str]) -> None:
        """Once for each template in this operator's life."""
        about = (birth.owner.uid, birth.revision)
        with self._lock:
            if about in self._told:
                return
            self._told.add(about)
        message = f"This cluster does not know, and dropped: {', '.join(missing)}"
        self._post(birth.owner, kind="Warning", reason="FieldsDropped", message=message)

    def _selector(self, owner: observed.Owner) -> dict[str, str] | None:
        """The labels that this owner's pods have; None if it is gone.

        Before 1.25 the API server takes a changed selector. It is refused, so what the status says
        of the earlier one holds: by the new one every pod would be released.
        """
        known = self._selectors.get(owner.uid)
        if known is None:
            document = self._fresh(owner)
            if document is None:
                return None
            held = (document.get("status") or {}).get("selector") or ""
            known = naming.match_labels(held) or document["spec"]["selector"]["matchLabels"]
            self._selectors[owner.uid] = known
        return known

    def _fresh(self, owner: observed.Owner) -> dict[str, Any] | None:
        try:
            document = self._api.get(paths.sets(owner.namespace, owner.name))
        except errors.NotFoundError:
            return None
        return document if document["metadata"]["uid"] == owner.uid else None

    def _pods(self, owner: observed.Owner, selector: dict[str, str]) -> Iterator[Pod]:
        """Those labelled as ours, then those that the selector wants besides; each once.

        One whose label is changed between the two lists is in both.
        """
        seen: set[str] = set()
        ours = f"{naming.LABEL_SET_UID}={owner.uid}"
        others = f"{naming.selector(selector)},{naming.LABEL_SET_UID}!={owner.uid}"
        for query in (ours, others):
            for pod in self._list(owner, query):
                if pod["metadata"]["uid"] not in seen:
                    seen.add(pod["metadata"]["uid"])
                    yield pod

    def _list(self, owner: observed.Owner, query: str) -> list[Pod]:
        return list(self._api.get(paths.pods(owner.namespace), labelSelector=query)["items"])

    def _release(self, pod: Pod, owner: observed.Owner) -> None:
        document = self._fresh(owner)
        if document is None or "deletionTimestamp" in document["metadata"]:
            return  # the garbage collector has it
        self._log.info("release", pod=pod["metadata"]["name"], cause="its labels do not match")
        self._patch(pod, kubernetes_claims.release(pod, owner))

    def _adopt(
        self, strangers: Sequence[Pod], owner: observed.Owner, *, beside: Sequence[Pod]
    ) -> Iterator[Pod]:
        """Only after a fresh read of the ServerSet: it must be the same, and not on its way out."""
        document = self._fresh(owner)
        if document is None or "deletionTimestamp" in document["metadata"]:
            return
        revision = naming.template_hash(document["spec"]["template"])
        taken = {one.ordinal for pod in beside if (one := _replica(pod, owner))}
        for pod in sorted(strangers, key=_age):
            patch = kubernetes_claims.adoption(pod, owner=owner, taken=taken, revision=revision)
            self._log.info(
                "adopt", pod=pod["metadata"]["name"], cause="its labels match the selector"
            )
            adopted = self._patch(pod, patch)
            if adopted is not None:
                taken.add(int(kubernetes_pods.labels(adopted)[naming.LABEL_ORDINAL]))
                yield adopted

    def _patch(self, pod: Pod, patch: dict[str, Any]) -> Pod | None:
        """Patch a pod; None if it has changed or gone meanwhile, the next look sees that."""
        path = paths.pods(pod["metadata"]["namespace"], pod["metadata"]["name"])
        try:
            return self._api.patch(path, patch, kind=client.STRATEGIC)
        except (errors.NotFoundError, errors.ConflictError):
            return None


def _replica(pod: Pod, owner: observed.Owner) -> observed.Replica | None:
    identity = kubernetes_claims.identity(pod, owner)
    return None if identity is None else kubernetes_pods.replica(pod, identity)


def _age(pod: Pod) -> tuple[str, str]:
    return pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]
