"""Balancers as values: `ports.Announcer` without HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ringmaster_operator import errors, observed, spec
from virtual_clock import Effects, VirtualClock


@dataclass
class FakeBalancer:
    """Keeps what it accepted on its disk; `in_flight` by display name."""

    url: str
    boot_id: str
    live: bool = True
    mute: bool = False  # answers, but refuses to take or to tell anything (a wrong token)
    deaf: bool = False  # answers, but refuses pushes (its workers do not confirm)
    document: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    in_flight: dict[str, int] = field(default_factory=dict)
    pushes: int = 0

    @property
    def pair(self) -> tuple[int, int]:
        return (self.document.get("epoch", 0), self.document.get("generation", 0))

    def states(self, state: str) -> list[str]:
        return [m["replica"] for m in self.document.get("members", ()) if m["state"] == state]

    def take(self, document: dict[str, Any]) -> str:
        """Accept a push, or say why not."""
        pair = (document["epoch"], document["generation"])
        if self.mute:
            return "401 wrong token"
        if self.deaf:
            return "503 not confirmed"
        if pair < self.pair or (pair == self.pair and document != self.document):
            return f"409 holds {self.pair}"
        if not document["members"] and document["replicas"]:
            return "422 an empty membership"
        self.document, self.source = document, "push"
        self.pushes += 1
        return ""

    def view(self, message: str = "") -> observed.BalancerView:
        if not self.live:
            return observed.BalancerView(url=self.url, live=False, message="refused")
        if self.mute:
            return observed.BalancerView(self.url, live=True, known=False, message="401")
        epoch, generation = self.pair
        return observed.BalancerView(
            url=self.url,
            live=True,
            boot_id=self.boot_id,
            epoch=epoch,
            generation=generation,
            checksum="",
            source=self.source,
            members={
                m["replica"]: observed.HeldMember(
                    replica=m["replica"],
                    state=m["state"],
                    healthy=True,
                    in_flight=self.in_flight.get(m["replica"], 0),
                )
                for m in self.document.get("members", ())
            },
            message=message,
        )


class FakeAnnouncer:
    """`balancers` may be changed at will."""

    def __init__(
        self, clock: VirtualClock, *, balancers: int = 1, effects: Effects | None = None
    ) -> None:
        self.clock = clock
        self.effects = effects or Effects()
        self._ids = itertools.count(1)
        self.balancers = [self._boot(f"http://b{n}:5001") for n in range(balancers)]
        self.sought = ""  # what was named, should there be no balancer
        self.withdrawn = 0
        self.asked: list[dict[str, Any]] = []
        self.judgement: Callable[[dict[str, Any]], observed.Judgement] = lambda _change: (
            observed.Judgement(url="", live=True)
        )
        self.on_push: Callable[[dict[str, Any]], None] = lambda _document: None

    def read_back(self, key: observed.Owner, config: spec.Balancer) -> observed.Balancers:
        return self._found([balancer.view() for balancer in self.balancers])

    def announce(
        self, key: observed.Owner, config: spec.Balancer, document: dict[str, Any]
    ) -> observed.Balancers:
        self.on_push(document)
        pair = (document["epoch"], document["generation"])
        views = self.effects.apply(f"push {pair[1]}", lambda: self._push(document))
        for view in views:
            if view.epoch > pair[0]:
                raise errors.FencedError(f"{view.url} knows epoch {view.epoch}")
        return self._found(views)

    def judge(
        self, key: observed.Owner, config: spec.Balancer, change: dict[str, Any]
    ) -> Sequence[observed.Judgement]:
        self.asked.append(change)
        return [replace(self.judgement(change), url=b.url, live=b.live) for b in self.balancers]

    def withdraw(self, key: observed.Owner, config: spec.Balancer) -> None:
        self.effects.apply("withdraw", self._withdraw)

    # The world's own doings.

    def die(self, index: int) -> None:
        self.balancers[index].live = False

    def restart(self, index: int, *, disk: bool = True) -> None:
        """It is back, with what was on its disk, or with nothing."""
        old = self.balancers[index]
        self.balancers[index] = self._boot(old.url)
        if disk:
            self.balancers[index].document = old.document
            self.balancers[index].source = "disk"

    def add(self) -> None:
        """One more, with nothing on its disk."""
        self.balancers.append(self._boot(f"http://b{len(self.balancers)}:5001"))

    def _found(self, views: Sequence[observed.BalancerView]) -> observed.Balancers:
        return observed.Balancers(tuple(views), missing="" if views else self.sought)

    def _boot(self, url: str) -> FakeBalancer:
        return FakeBalancer(url=url, boot_id=f"boot-{next(self._ids)}")

    def _push(self, document: dict[str, Any]) -> list[observed.BalancerView]:
        return [b.view(b.take(document) if b.live else "") for b in self.balancers]

    def _withdraw(self) -> None:
        self.withdrawn += 1
        if any(balancer.live and balancer.mute for balancer in self.balancers):
            raise errors.RetryLater("keeps the ring: 401")
        for balancer in self.balancers:
            if balancer.live:
                balancer.document = {}
