"""The CLI's way to the operator's API.

Law: an answer is a document or one of `ServerError`'s; nothing of `requests` leaves this module.
"""

from __future__ import annotations

import http.cookiejar
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3

from ringmaster_operator import errors, naming

Document = dict[str, Any]
_BASE = f"/apis/{naming.GROUP}/{naming.VERSION}"
_MERGE_PATCH = "application/merge-patch+json"
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')  # RFC 7234, section 5.5
_SECONDS = (3.0, 60.0)  # connect, read: a lab call may wait a minute, nothing else does
_NO_ADDRESS = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationValueError,  # http://a..b: `requests` lets it through
)
# What a question may raise that nobody answers.
FAILURES = (requests.RequestException, urllib3.exceptions.LocationValueError)
# What OpenSSL makes of an answer in plain HTTP, by its version, and of a server that waits for more.
_NO_TLS = re.compile(
    "wrong version number|record layer failure|packet length too long|http request|EOF|timed out"
)


class ServerError(errors.RingmasterError):
    """The server said no. `reason` and `message` are those of its Status."""

    def __init__(self, reason: str, message: str, *, code: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.code = code


class UnreachableError(errors.RingmasterError):
    """Nobody answers; the message says what to do."""


class ExpiredError(errors.RingmasterError):
    """A watch must begin anew with a list."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a server beyond loopback asks for; used with https only, as kubectl does.

    `authority` is the file of the certificate that its own is checked with; None: the system's.
    """

    authority: Path | None = None
    token: str | None = None


class Client:
    """One server. Plain HTTP on loopback needs no token (design: token ⇒ TLS)."""

    def __init__(self, server: str, credentials: Credentials | None = None) -> None:
        self._server = server.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands between us and loopback
        if credentials is not None and self._server.lower().startswith("https://"):
            if credentials.authority is not None:
                self._session.verify = str(credentials.authority)
            if credentials.token is not None:
                self._session.headers["Authorization"] = f"Bearer {credentials.token}"
        self._warnings: list[str] = []
        self._session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()

    def warnings(self) -> list[str]:
        """What the server has warned of since it was last asked."""
        found, self._warnings = self._warnings, []
        return found

    def many(
        self, namespace: str | None, *, labels: str = "", name: str = "", table: bool = False
    ) -> Document:
        """A ServerSetList, or a Table of it, of one namespace or (None) of all."""
        return self._json(
            "GET",
            _path(namespace),
            params=_selection(labels=labels, name=name) | _whole(table),
            accept=_accept(table),
        )

    def table(self, namespace: str, name: str) -> Document:
        """One ServerSet as a Table; as `list`, a missing one is an error."""
        return self._json("GET", _path(namespace, name), params=_whole(True), accept=_accept(True))

    def get(self, namespace: str, name: str) -> Document:
        """One ServerSet."""
        return self._json("GET", _path(namespace, name))

    def find(self, namespace: str, name: str) -> Document | None:
        """One ServerSet, None if there is none."""
        try:
            return self.get(namespace, name)
        except ServerError as error:
            if error.reason == "NotFound":
                return None
            raise

    def create(self, namespace: str, document: Document, *, dry_run: bool = False) -> Document:
        """Create a ServerSet."""
        return self._json("POST", _path(namespace), body=document, params=_dry(dry_run))

    def patch(
        self, namespace: str, name: str, change: Document, *, dry_run: bool = False
    ) -> Document:
        """Apply a merge patch."""
        return self._json(
            "PATCH", _path(namespace, name), body=change, kind=_MERGE_PATCH, params=_dry(dry_run)
        )

    def delete(self, namespace: str, name: str, *, dry_run: bool = False) -> Document:
        """Begin the deletion of a ServerSet."""
        return self._json("DELETE", _path(namespace, name), params=_dry(dry_run))

    def replicas(self, namespace: str, name: str) -> list[Document]:
        """The replicas of a ServerSet as last seen, in order of creation."""
        found = self._json("GET", _path(namespace, name) + "/replicas")
        return list(found.get("items") or [])

    def events(self, namespace: str, name: str) -> list[Document]:
        """What has happened to a ServerSet, oldest first."""
        path = f"/api/v1/namespaces/{quote(namespace, safe='')}/events"
        selector = f"involvedObject.name={name},involvedObject.kind={naming.KIND}"
        found = self._json("GET", path, params={"fieldSelector": selector})
        return list(found.get("items") or [])

    def watch(
        self,
        namespace: str | None,
        *,
        version: str,
        labels: str = "",
        name: str = "",
        table: bool = False,
    ) -> Iterator[tuple[str, Document]]:
        """Changes after `version` as (type, document or Table), until the server ends the stream.

        Raises:
            ExpiredError: `version` is too old.
        """
        params = _selection(labels=labels, name=name) | _whole(table)
        params |= {"watch": "true", "resourceVersion": version}
        with self._send(
            "GET", _path(namespace), params=params, accept=_accept(table), stream=True
        ) as answer:
            judge(answer)
            try:
                for line in answer.iter_lines():
                    if line:
                        yield _event(json.loads(line))
            except (requests.RequestException, ValueError):
                return  # the server went away in the middle: the caller looks again

    def _json(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Document | None = None,
        kind: str = "application/json",
        accept: str = "application/json",
    ) -> Document:
        with self._send(method, path, params=params, body=body, kind=kind, accept=accept) as answer:
            judge(answer)
            self._warnings += _WARNING.findall(answer.headers.get("Warning", ""))
            return document(answer, of="operator", proof="kind")

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: Document | None = None,
        kind: str = "application/json",
        accept: str = "application/json",
        stream: bool = False,
    ) -> requests.Response:
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            return self._session.request(
                method,
                self._server + path,
                params=params,
                data=None if body is None else json.dumps(body).encode(),
                headers=headers,
                timeout=(_SECONDS[0], None if stream else _SECONDS[1]),
                allow_redirects=False,
                stream=stream,
            )
        except FAILURES as error:
            raise unreachable(
                self._server,
                error,
                absent=f"The connection to the server {self._server} was refused or timed out: is "
                "it running? `ringmaster up` starts one; --server or RINGMASTER_SERVER names "
                "another",
                distrusted="--certificate-authority names what to check it with (the operator "
                "keeps that as tls/ca.crt in its state folder)",
            ) from error


def answers(url: str) -> bool:
    """Whether a URL answers 200 now."""
    try:
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(url, timeout=2, allow_redirects=False)
            return answer.status_code == 200  # noqa: PLR2004 – HTTP's OK
    except FAILURES:
        return False


def unreachable(server: str, error: Exception, *, absent: str, distrusted: str) -> UnreachableError:
    """One of `FAILURES` for people: `absent`, unless the address or TLS is at fault.

    `distrusted` says what to do about a certificate that is not trusted.
    """
    if isinstance(error, _NO_ADDRESS):
        return UnreachableError(f"{server} is no usable address")
    if untrusted := re.search(r"certificate verify failed: ([^()]+?)\.? \(", str(error)):
        return UnreachableError(
            f"The certificate of {server} is not trusted: {distrusted}; {untrusted[1]}"
        )
    why = _handshake(error)
    if why is None:
        return UnreachableError(absent)
    plain = "; the port may speak plain HTTP" if _NO_TLS.search(why) else ""
    return UnreachableError(f"The TLS handshake with {server} failed: {why}{plain}")


def _handshake(error: BaseException) -> str | None:
    """Why a TLS handshake failed, without the layers around OpenSSL's words; None if it did not."""
    if isinstance(error, requests.exceptions.SSLError):
        found = re.search(r"\] ([^()]+?) \(", str(error))
        return found[1] if found else str(error)
    # `requests` calls it a read that timed out: only its origin tells it from a slow answer.
    cause: BaseException | None = error
    while cause is not None:
        if "handshake operation timed out" in str(cause):
            return "it timed out"
        cause = cause.__cause__ or cause.__context__
    return None


def _path(namespace: str | None, name: str | None = None) -> str:
    middle = "" if namespace is None else f"/namespaces/{quote(namespace, safe='')}"
    end = "" if name is None else f"/{quote(name, safe='')}"
    return f"{_BASE}{middle}/{naming.PLURAL}{end}"


def _selection(*, labels: str, name: str) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": name and f"metadata.name={name}"}
    return {key: value for key, value in chosen.items() if value}


def _whole(table: bool) -> dict[str, str]:
    """Have a Table's rows carry their whole objects: labels and names are taken from them."""
    return {"includeObject": "Object"} if table else {}


def _accept(table: bool) -> str:
    return _TABLE if table else "application/json"


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def judge(answer: requests.Response) -> None:
    """Raise what a bad answer says."""
    if answer.ok:
        return
    status: Document = {}
    try:
        found = answer.json()
        status = found if isinstance(found, dict) else {}
    except (ValueError, requests.RequestException):
        pass
    reason = str(status.get("reason") or answer.reason or "Unknown")
    message = str(status.get("message") or status.get("error") or f"HTTP {answer.status_code}")
    if answer.status_code == requests.codes.gone:
        raise ExpiredError(message)
    raise ServerError(reason, message, code=answer.status_code)


def document(answer: requests.Response, *, of: str, proof: str) -> Document:
    """The object that a good answer of an operator or a balancer holds.

    Raises:
        ServerError: it has no field `proof`, so that somebody else has answered.
    """
    try:
        found = answer.json()
    except (ValueError, requests.RequestException) as error:
        raise stranger(answer, of=of, why="its answer is no JSON") from error
    if not isinstance(found, dict):
        raise stranger(answer, of=of, why="its answer is no object")
    if proof not in found:
        raise stranger(answer, of=of, why=f"its answer has no `{proof}`")
    return found


def stranger(answer: requests.Response, *, of: str, why: str) -> ServerError:
    """An answer that is good, but not of whom was asked."""
    asked = urlsplit(answer.url)
    where = f"{asked.scheme}://{asked.netloc}"
    return ServerError(
        "Unknown", f"what answers at {where} is no {of}: {why}", code=answer.status_code
    )


def _event(found: Document) -> tuple[str, Document]:
    kind, document = str(found.get("type")), found.get("object") or {}
    if kind == "ERROR":
        if document.get("code") == requests.codes.gone:
            raise ExpiredError(str(document.get("message")))
        raise ServerError(
            str(document.get("reason")),
            str(document.get("message")),
            code=int(document.get("code", 500)),
        )
    return kind, document
