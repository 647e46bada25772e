"""A whole small world: one ServerSet, a fake runtime, fake balancers, and an operator that can die.

Every effect is checked against design.md's invariants at the moment it happens, and the world after
every round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fake_announcer import FakeAnnouncer
from fake_records import FakeRecords
from fake_runtime import FakeRuntime
from ringmaster_operator import errors, naming, observed, reconcile, spec
from virtual_clock import Effects, InlineExecutor, OperatorKilledError, VirtualClock

KEY = ("default", "web")


def document(replicas: int = 3, *, image: str = "v1", **fields: Any) -> dict[str, Any]:
    """A ServerSet's document; `fields` go into its spec."""
    return {
        "apiVersion": "ringmaster.dev/v1alpha1",
        "kind": "ServerSet",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            **fields,
        },
    }


def template(image: str = "v1") -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "server", "image": image, "command": ["server"]}]},
    }


class World:
    """Everything there is; `step` is a look of the operator."""

    def __init__(self, *, balancers: int = 1, **spec_fields: Any) -> None:
        self.clock = VirtualClock()
        self.effects = Effects()
        self.runtime = FakeRuntime(self.clock, effects=self.effects)
        self.announcer = FakeAnnouncer(self.clock, balancers=balancers, effects=self.effects)
        self.records = FakeRecords(effects=self.effects)
        self.records.apply(document(**spec_fields))
        self.epoch = 0
        self.pushed: tuple[tuple[int, int], dict[str, Any]] = ((0, 0), {})
        self.last_seen: tuple[observed.Replica, ...] = ()
        self.looked = False
        self._since: dict[tuple[str, float], float] = {}  # uid and said moment → ready since
        self.were_active: set[str] = set()  # uids, by the memory that the last look began with
        self._parsed: tuple[Any, spec.ServerSet] | None = None
        self.runtime.on_create = self._check_create
        self.runtime.on_remove = self._check_remove
        self.runtime.on_observe = self._see
        self.announcer.on_push = self._check_push
        self.restart()

    def restart(self) -> None:
        """A new operator; nothing of the old one's mind is left."""
        self.epoch = max(self.epoch, int(self.clock() * 1000)) + 1
        self.operator = reconcile.Reconciler(
            runtime=self.runtime,
            announcer=self.announcer,
            records=self.records,
            epoch=self.epoch,
            clock=self.clock,
            pool=InlineExecutor(),
        )

    def step(self) -> reconcile.Result:
        """One reconcile; a dead operator is followed by a new one, a failed look by backoff."""
        self.looked = False
        try:
            return self.operator.reconcile(*KEY)
        except OperatorKilledError:
            self.restart()
            return reconcile.Result(requeue_after=0.1, text="killed")
        except errors.RetryLater as error:
            return reconcile.Result(requeue_after=0.5, text=f"retry: {error}")
        finally:
            self.check()

    def run(self, seconds: float) -> list[str]:
        """Let time pass, with a look whenever the operator asked for one or every second."""
        end, texts = self.clock() + seconds, []
        while True:
            result = self.step()
            texts.append(result.text)
            pause = min(result.requeue_after or 1.0, 1.0, end - self.clock())
            if pause <= 0:
                return texts
            self.clock.advance(pause)

    def set_clock(self, seconds: float) -> None:
        """Set the operator's clock forward, or back; what bodies are about to do is not moved."""
        self.runtime.settle()
        self.clock.advance(seconds)
        for body in self.runtime.bodies.values():
            body.starts_at += seconds
            body.ready_at += seconds
            body.dies_at = None if body.dies_at is None else body.dies_at + seconds
            body.gone_at = None if body.gone_at is None else body.gone_at + seconds

    def edit(self, **fields: Any) -> None:
        self.records.edit(*KEY, **fields)

    @property
    def server_set(self) -> spec.ServerSet:
        document = self.records.documents[KEY]
        if self._parsed is None or self._parsed[0] is not document["spec"]:
            try:
                self._parsed = (document["spec"], spec.parse(document))
            except errors.SpecInvalidError:  # the one before goes on
                assert self._parsed is not None
        return self._parsed[1]

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.records.documents[KEY]["status"])

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason."""
        found = next(c for c in self.status["conditions"] if c["type"] == kind)
        return found["status"], found["reason"]

    def ring(self, state: str = "active") -> list[str]:
        return self.announcer.balancers[0].states(state)

    def by_member(self) -> dict[str, list[str]]:
        members: dict[str, list[str]] = {}
        for body in self.runtime.living():
            members.setdefault(body.birth.member_id, []).append(body.birth.name)
        return members

    # The invariants of design.md.

    def check(self) -> None:
        """After every round: what the operator last decided keeps enough replicas in the ring."""
        if self.gone or self.runtime.hides():
            return
        value = self.records.load_memory(self.owner)
        if value.epoch != self.epoch or not self.looked:
            return  # the operator has not come to a decision in this round
        wanted = self.server_set.spec
        places = {ordinal for ordinal, place in value.places.items() if place.wanted}
        serving = {r.ordinal for r in self.last_seen if r.ordinal in places and self._available(r)}
        active = sum(member.state == "active" for member in value.members)
        floor = wanted.replicas - wanted.unavailable()
        assert active >= min(len(serving), floor), f"{active} in the ring, {len(serving)} serve"

    @property
    def gone(self) -> bool:
        return KEY not in self.records.documents

    @property
    def owner(self) -> observed.Owner:
        return observed.Owner(*KEY, uid=self.records.documents[KEY]["metadata"]["uid"])

    def _available(self, replica: observed.Replica) -> bool:
        patience = self.server_set.spec.min_ready_seconds
        said = replica.ready_since or 0.0
        since = self._since.get((replica.uid, said), said)
        return replica.ready and self.clock() - since >= patience

    def _see(self, replicas: Sequence[observed.Replica]) -> None:
        """The first observation of a round is what its plan rests on."""
        if not self.looked:
            self.last_seen, self.looked = tuple(replicas), True
            for said in ((r.uid, r.ready_since) for r in replicas if r.ready_since is not None):
                self._since[said] = min(self._since.get(said, said[1]), self.clock())
            members = self.records.load_memory(self.owner).members
            self.were_active = {m.uid for m in members if m.state == "active"}

    def _check_create(self, birth: observed.Birth) -> None:
        wanted = self.server_set.spec
        assert "deletionTimestamp" not in self.records.documents[KEY]["metadata"], (
            "created while deleting"
        )
        value = self.records.load_memory(birth.owner)
        places = {ordinal for ordinal, place in value.places.items() if place.wanted}
        assert birth.ordinal in places, "not remembered before it was created"
        living = [body for body in self.runtime.living() if body.birth.ordinal in places]
        assert len(living) + 1 <= wanted.replicas + wanted.surge(), "too many replicas"

    def _check_remove(self, replica: observed.Replica) -> None:
        assert replica.owner_uid == self.owner.uid, "not ours"
        for balancer in self.announcer.balancers:
            if balancer.live:
                assert replica.display_name not in balancer.states("active"), "still active"

    def _check_push(self, pushed: dict[str, Any]) -> None:
        entries = pushed["members"]
        active = [entry for entry in entries if entry["state"] == "active"]
        ids = [entry["id"] for entry in active]
        assert len(ids) == len(set(ids)), "two active replicas of one member"
        names = [entry["replica"] for entry in entries]
        assert len(names) == len(set(names)), "a replica is listed twice"
        assert entries or not pushed["replicas"], "an empty membership"
        pair = (pushed["epoch"], pushed["generation"])
        content = {k: v for k, v in pushed.items() if k not in {"epoch", "generation"}}
        assert pair >= self.pushed[0], "an older membership"
        if pair == self.pushed[0]:
            assert content == self.pushed[1], "the same pair with another content"
        self._check_active({entry["replica"] for entry in active})
        self.pushed = (pair, content)

    def _check_active(self, active: set[str]) -> None:
        """Active are the ready, once let in; with nobody ready the last set stays."""
        ready = {
            r.display_name
            for r in self.last_seen
            if self._available(r) or (r.ready and r.uid in self.were_active)
        }
        if not active <= ready:
            before = {
                m["replica"] for m in self.pushed[1].get("members", ()) if m["state"] == "active"
            }
            assert not active & ready, "unready beside ready"
            assert active <= before, "unready ones were brought in"


def converged(world: World) -> bool:
    """Whether the world is as the spec says, as far as it can be seen from outside."""
    spec_now = world.server_set.spec
    living = world.runtime.living()
    revision = naming.template_hash(spec_now.template)
    names = {body.birth.display_name for body in living}
    return (
        len(world.runtime.bodies) == len(living) == spec_now.replicas
        and len({body.birth.ordinal for body in living}) == spec_now.replicas
        and all(body.ready and body.birth.revision == revision for body in living)
        and all(set(b.states("active")) == names for b in world.announcer.balancers)
        and not any(b.states("draining") or b.states("absent") for b in world.announcer.balancers)
        and world.condition("Ready")[0] == "True"
    )
