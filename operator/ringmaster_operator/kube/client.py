"""One call to the API server: plain documents in and out, a timeout on each, errors mapped here.

Law: the only module that imports the client library. It repeats reads whose kept connection broke,
and no write: whether that took effect, its caller finds out by looking.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client as library
from kubernetes import config

from ringmaster_operator import errors

Document = dict[str, Any]

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
_JSON = "application/json"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_READ_TRIES = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """How patient to be; times in seconds."""

    connect_seconds: float = 2.0  # the API server is near
    read_seconds: float = 15.0  # a list of 10,000 pods takes about 3; admission webhooks up to 10
    connections: int = 16  # 4 reconciles, 8 actions at once, the pass, events


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster and who we are there; `namespace` is where we live, or the context's."""

    configuration: Any
    namespace: str

    def authorization(self) -> str:
        """The Authorization header as it is now: a service account's token is renewed at times."""
        return str(self.configuration.get_api_key_with_prefix("BearerToken") or "")


# The library has types in parts.
_config: Any = config


def access(kubeconfig: str | None = None) -> Access:
    """What `kubeconfig` says, else our pod's service account, else $KUBECONFIG or ~/.kube/config.

    Raises:
        UsageError: neither is there.
    """
    configuration = library.Configuration()
    namespace = _from_pod(configuration) if kubeconfig is None else None
    if namespace is None:
        namespace = _from_file(configuration, kubeconfig)
    # Whether a call is repeated is decided here and by callers, not in the library.
    configuration.retries = False
    configuration.connection_pool_maxsize = Settings().connections
    return Access(configuration=configuration, namespace=namespace or "default")


class Api:
    """Calls by path, from any thread. What they raise is in `errors` and nowhere else."""

    def __init__(self, configuration: Any, settings: Settings | None = None) -> None:
        self._client: Any = library.ApiClient(configuration)  # its types are partial
        self._settings = settings or Settings()

    def get(self, path: str, **query: str | int) -> Document:
        """Read an object or a list. Without resourceVersion it is what etcd holds now.

        Raises:
            NotFoundError: it is not there.
            RetryLater: no usable answer.
        """
        for last in range(_READ_TRIES - 1, -1, -1):
            try:
                return self._call("GET", path, query=query)
            except _ConnectionBrokenError:
                if not last:
                    raise
        raise AssertionError("unreachable")

    def create(self, path: str, body: Document) -> Document:
        """POST.

        Raises:
            AlreadyExistsError: the name is taken.
            RefusedError: it is invalid, forbidden, or beyond a quota.
            AmbiguousError: it may exist now.
            RetryLater: it does not.
        """
        return self._call("POST", path, body=body, refusable=True)

    def patch(self, path: str, body: Document, *, kind: str = MERGE) -> Document:
        """PATCH, merge or strategic; with metadata.resourceVersion only that version.

        Raises:
            ConflictError: it has changed meanwhile.
            NotFoundError: it is gone.
            RetryLater: it was not done, or (AmbiguousError) perhaps it was.
        """
        return self._call("PATCH", path, body=body, content_type=kind)

    def delete(
        self, path: str, *, uid: str | None = None, grace_seconds: int | None = None
    ) -> Document:
        """DELETE this very instance, in the background; raises as `patch`."""
        options: Document = {"kind": "DeleteOptions", "apiVersion": "v1"}
        options["propagationPolicy"] = "Background"
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        return self._call("DELETE", path, body=options)

    def close(self) -> None:
        """Give back connections."""
        self._client.close()

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Document | None = None,
        content_type: str = _JSON,
        refusable: bool = False,
    ) -> Document:
        headers = {"Accept": _JSON} | ({"Content-Type": content_type} if body is not None else {})
        try:
            # Without the body: `param_serialize` makes nulls of empty strings.
            _, url, headers, _, _ = self._client.param_serialize(
                method=method,
                resource_path=path,
                query_params=list((query or {}).items()),
                header_params=headers,
                auth_settings=["BearerToken"],
            )
        except (OSError, config.ConfigException) as error:  # the token, which is read every minute
            raise errors.RetryLater(f"{method} {path}: no token: {error}") from error
        patience = (self._settings.connect_seconds, self._settings.read_seconds)
        try:
            response = self._client.call_api(method, url, headers, body, _request_timeout=patience)
            raw = response.read()
        except library.ApiException as error:  # TLS: nothing was sent
            raise errors.RetryLater(f"{method} {path}: {error.reason}") from error
        except urllib3.exceptions.HTTPError as error:
            raise _broken(f"{method} {path}", error) from error
        document = _parsed(raw)
        if not 200 <= response.status < 300:  # noqa: PLR2004 – HTTP's own numbers
            raise _refusal(f"{method} {path}", response.status, document, refusable=refusable)
        return document


class _ConnectionBrokenError(errors.AmbiguousError):
    """The connection ended before the answer."""


def _from_pod(configuration: Any) -> str | None:
    try:
        _config.load_incluster_config(client_configuration=configuration)
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    except (config.ConfigException, OSError):
        return None


def _from_file(configuration: Any, path: str | None) -> str:
    try:
        _config.load_kube_config(config_file=path, client_configuration=configuration)
        _, active = _config.list_kube_config_contexts(config_file=path)
    except (config.ConfigException, OSError) as error:
        raise errors.UsageError(
            f"no Kubernetes cluster: not in a pod, and no kubeconfig ({error})"
        ) from error
    return str((active or {}).get("context", {}).get("namespace", ""))


def _parsed(raw: bytes) -> Document:
    try:
        document = json.loads(raw)
    except ValueError:
        return {"message": raw[:200].decode(errors="replace")}
    return document if isinstance(document, dict) else {}


def _broken(what: str, error: urllib3.exceptions.HTTPError) -> errors.RetryLater:
    """Without a connection nothing happened; one that broke leaves it open."""
    if isinstance(
        error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
    ):
        return errors.RetryLater(f"{what}: the API server cannot be reached")
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return errors.AmbiguousError(f"{what}: no answer in time")
    return _ConnectionBrokenError(f"{what}: the connection broke: {error}")


def _refusal(
    what: str, status: int, document: Document, *, refusable: bool
) -> errors.RingmasterError:
    """An answer that is no success. The table is kube-apiserver's (apimachinery, errors.go)."""
    reason = str(document.get("reason") or "")
    message = str(document.get("message") or f"HTTP {status}")
    match status:
        case 404 if reason == "NotFound":
            return errors.NotFoundError(message)
        # Any other 404 speaks of the path: servers up to 1.22 do not know custom resources yet
        # in their first seconds.
        case 409 if reason == "AlreadyExists":
            return errors.AlreadyExistsError(message)
        case 409:
            return errors.ConflictError(message)
        case 400 | 403 | 405 | 413 | 415 | 422 if refusable:
            return errors.RefusedError(_word(status, reason, message), message)
        case status if status >= 500:  # noqa: PLR2004 – HTTP's own number
            return errors.AmbiguousError(f"{what}: {message}")
        case _:
            return errors.RetryLater(f"{what}: {message}")


def _word(status: int, reason: str, message: str) -> str:
    """A condition's reason."""
    if status == 403 and "exceeded quota" in message:  # noqa: PLR2004 – HTTP's own number
        return "QuotaExceeded"
    return reason if reason.isalnum() else "Refused"
