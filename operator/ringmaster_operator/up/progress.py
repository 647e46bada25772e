"""Tells the user of `up` how far the ServerSets are.

Law: it only watches, in a thread of its own, so that an operator that hangs cannot keep `up` from
tending to its children.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ringmaster_operator import client, errors, printers

_SECONDS = 0.5
_GOODBYE = 1.0  # for a look under way; it may hang with the operator


class Progress:
    """Says each change of a ServerSet's counts, and once, when the set of `ring` serves, the hint.

    `empty` is said, once too, if there is no set at all at first.
    """

    def __init__(
        self,
        *,
        server: str,
        balancer: str,
        ring: str,
        hint: Sequence[str],
        empty: Sequence[str] = (),
        say: Callable[[str], None],
    ) -> None:
        self._client = client.Client(server)
        self._balancer = balancer
        self._ring = ring
        self._hint = list(hint)
        self._empty = list(empty)
        self._say = say
        self._said: dict[str, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Say nothing any more."""
        self._ended.set()

    def close(self) -> None:
        """Stop, and give the connections back."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join(_GOODBYE)
        self._client.close()

    def look(self) -> None:
        """Say what has changed since the last look."""
        try:
            documents = self._client.many(None).get("items") or []
        except errors.RingmasterError:
            return  # not up yet, or starting again; whoever tends to it says so
        if self._ended.is_set():
            return
        if not documents:
            self._say_all(self._empty)
        self._empty = []
        for document in documents:
            self._tell(printers.resource_key(document), printers.progress(document))
        for key in self._said.keys() - set(map(printers.resource_key, documents)):
            self._said.pop(key)
            self._say(f"{key} is gone")
        served = [d for d in documents if "/".join(printers.identity(d)) == self._ring]
        if self._hint and any(map(printers.settled, served)):
            self._welcome()

    def _tell(self, key: str, line: str) -> None:
        if self._said.get(key) != line:
            self._said[key] = line
            self._say(line)

    def _welcome(self) -> None:
        if client.answers(f"{self._balancer}/readyz"):
            self._say_all(self._hint)
            self._hint = []

    def _say_all(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._say(line)

    def _run(self) -> None:
        while not self._ended.wait(_SECONDS):
            self.look()
