"""ServerSets and memories in dictionaries: `ports.Records` without a database."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ringmaster_operator import memory, observed
from virtual_clock import Effects


class FakeRecords:
    """`documents` by (namespace, name); memories are kept as text, as a real store does."""

    def __init__(self, *, effects: Effects | None = None) -> None:
        self.effects = effects or Effects()
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.memories: dict[str, str] = {}
        self.events: list[tuple[str, str, str]] = []

    def apply(self, document: dict[str, Any]) -> None:
        """A user's change: the generation rises."""
        document = copy.deepcopy(document)
        metadata = document["metadata"]
        metadata.setdefault("namespace", "default")
        key = (metadata["namespace"], metadata["name"])
        before = self.documents.get(key)
        metadata.setdefault("uid", before["metadata"]["uid"] if before else f"set-{key[1]}")
        metadata["generation"] = before["metadata"]["generation"] + 1 if before else 1
        document["status"] = before.get("status", {}) if before else {}
        self.documents[key] = document

    def edit(self, namespace: str, name: str, **spec: Any) -> None:
        """A user's change of fields of the spec."""
        document = copy.deepcopy(self.documents[namespace, name])
        document["spec"].update(spec)
        self.apply(document)

    def delete(self, namespace: str, name: str) -> None:
        """A user's deletion: it begins."""
        self.documents[namespace, name]["metadata"]["deletionTimestamp"] = "2025-11-23T02:00:00Z"

    def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.documents.get((namespace, name)))

    def load_memory(self, owner: observed.Owner) -> memory.Memory:
        text = self.memories.get(owner.uid)
        return memory.Memory() if text is None else memory.Memory.from_json(text)

    def save_memory(self, owner: observed.Owner, value: memory.Memory) -> None:
        text = value.to_json()
        self.effects.apply("save", lambda: self.memories.update({owner.uid: text}))

    def write_status(self, owner: observed.Owner, status: dict[str, Any]) -> None:
        document = self.documents[owner.namespace, owner.name]
        self.effects.apply("status", lambda: document.update(status=copy.deepcopy(status)))

    def consume(
        self, owner: observed.Owner, *, names: Sequence[str] = (), victims: Sequence[str] = ()
    ) -> None:
        self.effects.apply("consume", lambda: self._consume(owner, names, victims))

    def forget(self, owner: observed.Owner) -> None:
        self.effects.apply("forget", lambda: self._forget(owner))

    def event(self, owner: observed.Owner, *, kind: str, reason: str, message: str) -> None:
        self.effects.apply("event", lambda: self.events.append((kind, reason, message)))

    def reasons(self) -> list[str]:
        return [reason for _, reason, _ in self.events]

    def _consume(self, owner: observed.Owner, names: Sequence[str], victims: Sequence[str]) -> None:
        document = self.documents[owner.namespace, owner.name]
        section = document["spec"] = copy.deepcopy(document["spec"])
        section["names"] = [n for n in section.get("names", ()) if n not in names]
        down = section.setdefault("scaleDown", {})
        down["victims"] = [v for v in down.get("victims", ()) if v not in victims]

    def _forget(self, owner: observed.Owner) -> None:
        self.documents.pop((owner.namespace, owner.name), None)
        self.memories.pop(owner.uid, None)
