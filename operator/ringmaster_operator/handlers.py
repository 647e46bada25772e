"""kopf: what happens in a cluster, as hints.

Law: a table of handlers, each one call. Handlers only say *look again*; deciding, the pass every
15 s and all writing are the loop's and the reconcile's. No timer, daemon, create or update handler:
kopf would put a finalizer or its own notes on the objects, and `kubectl delete` would hang while
the operator is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import kopf
import structlog

from ringmaster_operator import naming, observed
from ringmaster_operator.kube import client, hints
from ringmaster_operator.ports import Notify

PREFIX = f"kopf.{naming.GROUP}"
# A watch that hears nothing for so long is begun anew: a connection may be dead without a word.
_SERVER_SECONDS = 240
_CLIENT_SECONDS = 300
_BACKOFFS = (1.0, 2.0, *(3.0 for _ in range(10_000)))
_STOP_SECONDS = 0.1  # how soon the end is noticed
_CLOSE_SECONDS = 0.25  # for TLS connections to end in order, as aiohttp advises


@dataclass(frozen=True, slots=True)
class Scope:
    """Which namespaces are watched; `everywhere` needs a ClusterRole."""

    namespaces: tuple[str, ...] = ()
    everywhere: bool = False


class Watch:
    """Runs kopf; `watch` is what `loop` and `ports.Runtime.watch` ask for."""

    def __init__(self, scope: Scope, access: client.Access) -> None:
        self._scope = scope
        self._access = access

    def watch(self, notify: Notify, stop: threading.Event) -> None:
        """Hint at whatever changes until `stop` is set. Blocks, in any thread."""
        _log_as_we_do()
        asyncio.run(self._run(notify, stop))

    async def _run(self, notify: Notify, stop: threading.Event) -> None:
        # Cancelled and polled: kopf's own stop flag takes up to 5 s, and would keep a thread
        # waiting, so that a kopf that broke could not be begun anew.
        kopfs = asyncio.create_task(
            kopf.operator(
                registry=table(notify, self._access),
                settings=_settings(),
                # For peers, of which there are none. kopf's own makes an identity of the user's
                # name, and the image's user has none.
                identity=cast(Any, naming.GROUP),
                standalone=True,
                clusterwide=self._scope.everywhere,
                namespaces=() if self._scope.everywhere else self._scope.namespaces,
            )
        )
        while not (stop.is_set() or kopfs.done()):
            await asyncio.wait({kopfs}, timeout=_STOP_SECONDS)
        kopfs.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await kopfs
        await asyncio.sleep(_CLOSE_SECONDS)


def table(notify: Notify, access: client.Access) -> kopf.OperatorRegistry:
    """The handlers."""
    registry = kopf.OperatorRegistry()
    known = hints.Hints()
    on_sets = kopf.on.event(naming.GROUP, naming.VERSION, naming.PLURAL, registry=registry)
    on_pods = kopf.on.event("", "v1", "pods", registry=registry)

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return _connection(access)

    @on_sets
    async def serverset(body: kopf.Body, type: str | None, **_: Any) -> None:  # noqa: A002 – kopf's name
        _tell(notify, [known.of_set(body, gone=type == "DELETED")])

    @on_pods
    async def pod(body: kopf.Body, **_: Any) -> None:
        _tell(notify, known.of_pod(body))

    return registry


class _ToLog(logging.Handler):
    """kopf's troubles, one line each, in our own log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take over a record."""
        structlog.get_logger().warning("kopf", said=record.getMessage())


def _log_as_we_do() -> None:
    logger = logging.getLogger("kopf")
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.handlers = [_ToLog()]


def _connection(access: client.Access) -> kopf.ConnectionInfo:
    """The client library's configuration in kopf's words."""
    given = access.configuration
    scheme, _, token = access.authorization().rpartition(" ")
    return kopf.ConnectionInfo(
        server=given.host,
        ca_path=given.ssl_ca_cert,
        insecure=not given.verify_ssl,
        scheme=scheme or None,
        token=token or None,
        certificate_path=given.cert_file,
        private_key_path=given.key_file,
    )


def _tell(notify: Notify, owners: Sequence[observed.Owner | None] | set[observed.Owner]) -> None:
    for owner in owners:
        if owner is not None:
            notify(owner)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.posting.loggers = False
    # Nothing of these is ever written; if it were, it would be under our own name.
    settings.persistence.finalizer = f"{PREFIX}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=PREFIX)
    # The kinds are known: no watching of CustomResourceDefinitions and Namespaces.
    settings.scanning.disabled = True
    settings.watching.server_timeout = _SERVER_SECONDS
    settings.watching.client_timeout = _CLIENT_SECONDS
    settings.watching.connect_timeout = 5
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    # An API server that is away is looked for until it is back.
    settings.networking.error_backoffs = _BACKOFFS
    settings.process.ultimate_exiting_timeout = None
    return settings
