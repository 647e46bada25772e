"""The CLI's way to a balancer: what it holds, where a key goes, what a change would do, pictures.

Law: an answer is a document or one of `client`'s errors; nothing of `requests` leaves this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from ringmaster_operator import client, errors, statedir

Document = dict[str, Any]
_BALANCER = "balancer"
_SVG = "image/svg+xml"
_SECONDS = (3.0, 30.0)  # connect, read: a hash function may be on trial for some of them
_PATIENCE = 10  # answers "in a moment" before the CLI gives up


@dataclass(frozen=True, slots=True)
class Ring:
    """One ring on one balancer.

    `ca` is the file of who signed its certificate; None: the system's authorities.
    """

    balancer: str
    namespace: str
    name: str
    token: str
    ca: Path | None = None

    def held(self) -> Document:
        """The membership that it holds."""
        return _document(self._ask("GET", ""), proof="members")

    def explain(self, key: bytes) -> Document:
        """Where it would send a key, and why."""
        return _document(self._ask("GET", "/explain", params={"key": key}), proof="candidates")

    def plan(self, change: Document) -> Document:
        """What a change (`ring`, `members`) would do; a new hash function is tried first."""
        for _ in range(_PATIENCE):
            try:
                return _document(self._ask("POST", "/plan", json=change), proof="moved")
            except client.ServerError as error:
                if error.reason != "HashOnTrial":
                    raise
        raise errors.RetryLater("the hash function is still being tried: ask again in a moment")

    def picture(self, part: str) -> str:
        """An SVG; empty if there is nothing to show.

        A balancer draws the ring it has, whoever asks: it is asked first whether that is this one.
        """
        self.held()
        answer = self._send("GET", f"{self._base}/picture/{part}.svg")
        if answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _SVG:
            raise client.stranger(answer, of=_BALANCER, why="its picture is no SVG")
        return answer.text

    @property
    def _base(self) -> str:
        return self.balancer.rstrip("/")

    def _ask(self, method: str, tail: str, **options: Any) -> requests.Response:
        ring = f"{quote(self.namespace, safe='')}/{quote(self.name, safe='')}"
        headers = {"Authorization": f"Bearer {self.token}"}
        return self._send(method, f"{self._base}/v1/rings/{ring}{tail}", headers=headers, **options)

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        try:
            with requests.Session() as session:
                session.trust_env = False
                session.verify = str(self.ca) if self.ca else True
                answer = session.request(
                    method, url, timeout=_SECONDS, allow_redirects=False, **options
                )
        except client.FAILURES as error:
            raise client.unreachable(
                self.balancer,
                error,
                absent=f"The balancer {self.balancer} does not answer: is it running? "
                "--balancer names another control address",
                distrusted="--balancer-ca names who signed it",
            ) from error
        client.judge(answer)
        return answer


def find(
    state: statedir.StateDir,
    *,
    balancer: str | None = None,
    balancer_ca: Path | None = None,
    namespace: str | None = None,
    names: Sequence[str] = (),
    token_file: Path | None = None,
) -> Ring:
    """The ring that is meant; what is not given is what `up` runs on the state folder.

    Raises:
        UsageError: there is no token, or more than one name.
    """
    if len(names) > 1:
        raise errors.UsageError(f"a balancer serves one ring, not {' and '.join(names)}")
    record = statedir.read_json(state.run_file("balancer"))
    if balancer is None:
        ports = record.get("ports") or (5000, 5001)
        balancer = f"http://127.0.0.1:{ports[-1]}"
    path = token_file or state.token_file
    try:
        token = statedir.read_token(path)
    except FileNotFoundError as error:
        raise errors.UsageError(
            f"there is no token file {path}: is `ringmaster up` running with this state folder?"
        ) from error
    served, name = _served(record)
    if names:
        served, name = "default", names[0]
    served = namespace or served
    return Ring(balancer=balancer, namespace=served, name=name, token=token, ca=balancer_ca)


def _document(answer: requests.Response, *, proof: str) -> Document:
    return client.document(answer, of=_BALANCER, proof=proof)


def _served(record: Document) -> tuple[str, str]:
    """The ring of a recorded balancer."""
    argv = record.get("argv") or []
    ring = argv[argv.index("--ring") + 1] if "--ring" in argv else "default/web"
    namespace, _, name = str(ring).partition("/")
    return namespace, name
