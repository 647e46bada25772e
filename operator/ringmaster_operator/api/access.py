"""Who may reach the API, and how.

Law: plain HTTP without credentials is loopback's. Beyond it a token is wanted, and where a token
is wanted there is TLS, so that it is never sent in the clear. Decided once, before anything is
served; clients on this machine find the outcome in the state folder.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from ringmaster_operator import api, errors, statedir, store
from ringmaster_operator.api import certificates, cluster_app, guard


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line's words about the API.

    `names` are those that clients call it by besides loopback's; `published`: whoever can reach
    `host` may use the API (see `api.serve`); `fallback` is the token file beyond loopback if
    `token_file` names none. `lab_host` is where balancers on other machines find the lab routes,
    and nothing else, for the token that they share with the operator.
    """

    host: str = "127.0.0.1"
    port: int = 7070
    names: tuple[str, ...] = ()
    published: bool = False
    token_file: Path | None = None
    fallback: Path | None = None
    lab_host: str | None = None
    lab_port: int = 7071


@dataclass(frozen=True, slots=True)
class Access:
    """How the API is served: with `certificate` to those who bear `token`, or to all there."""

    settings: Settings
    names: tuple[str, ...]
    token_file: Path | None = None
    token: str | None = None
    certificate: certificates.Certificate | None = None

    @contextmanager
    def serve(
        self, kept: store.Store, hooks: api.Hooks, state: statedir.StateDir, *, lab_token: str
    ) -> Iterator[str]:
        """Serve while the block runs; gives the URL for clients on this machine."""
        app = api.make_app(kept, token=self.token, hosts=self.names, hooks=hooks)
        with contextlib.ExitStack() as stack:
            if self.settings.lab_host is not None:
                lab = _lab_app(kept, hooks, token=lab_token)
                host, port = self.settings.lab_host, self.settings.lab_port
                # Its token travels there as in our pushes to the same balancers.
                stack.enter_context(api.serve(lab, host, port, published=True))
            found = stack.enter_context(
                api.serve(
                    app,
                    self.settings.host,
                    self.settings.port,
                    tls=self.certificate,
                    published=self.settings.published,
                )
            )
            record = self._record(found)
            statedir.write_atomically(state.api_file, json.dumps(record))
            stack.callback(state.api_file.unlink, missing_ok=True)
            yield record["url"]

    def _record(self, port: int) -> dict[str, Any]:
        scheme = "http" if self.certificate is None else "https"
        # Each of loopback's names is in the certificate, but is it listened on?
        local = _reached(self.settings.host)
        return {
            "url": url(scheme, local, port),
            "names": [url(scheme, name, port) for name in self.names],
            "tokenFile": str(self.token_file.absolute()) if self.token_file else None,
        }


def decide(settings: Settings, folder: Path) -> Access:
    """What the words come to; the certificate is kept in `folder`.

    Raises:
        UsageError: there is no token though one is needed, or it or the folder cannot be used.
    """
    names = _names(settings)
    beyond = not settings.published and not guard.is_loopback(settings.host)
    token_file = settings.token_file or (settings.fallback if beyond else None)
    if token_file is None:
        return Access(settings, names)
    try:
        token = statedir.read_token(token_file)
    except FileNotFoundError as error:
        raise errors.UsageError(f"there is no token file {token_file}") from error
    certificate = certificates.Certificate(folder, names)
    return Access(settings, names, token_file=token_file, token=token, certificate=certificate)


def _lab_app(kept: store.Store, hooks: api.Hooks, *, token: str) -> web.Application:
    return cluster_app.make_app(
        kept,
        hooks.replicas,
        token=token,
        alive=lambda: True,
        ready=hooks.ready,
        name_fault=hooks.name_fault,
    )


def url(scheme: str, host: str, port: int) -> str:
    """An address as clients are given it."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _names(settings: Settings) -> tuple[str, ...]:
    own = () if _is_wildcard(settings.host) else (settings.host,)
    return tuple(dict.fromkeys([*settings.names, *own]))


def _reached(host: str) -> str:
    """Where who listens on `host` is reached from here; on `::` asyncio has no IPv4."""
    if _is_wildcard(host):
        return "::1" if ":" in host else "127.0.0.1"
    return "127.0.0.1" if host == "localhost" else host


def _is_wildcard(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host
