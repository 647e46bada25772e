"""The control port as Flask sees it: the ring, its explanation, health, readiness, metrics.

Law: edge, without decisions: each view is a call of the keeper and the words for its answer.
`/v1` wants the bearer token; `/healthz`, `/readyz`, `/metrics` and the page for people (`page`) are
open, they name no secret and change nothing.
Who calls: `control`, once.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import flask
import werkzeug.exceptions

from ringmaster_balancer import errors
from ringmaster_balancer.control import bodies, disk, gate, keeper, ordering, page

T = TypeVar("T")

# 10,000 members need about 2 MB.
BODY_BYTES = 4 * 1024 * 1024


class Call(Protocol):
    """Runs a coroutine on the control process' event loop, from a thread of the web server."""

    def __call__(self, coroutine: Coroutine[Any, Any, T], /) -> T:
        """Its result, or its exception."""
        ...


@dataclass(frozen=True, slots=True)
class Config:
    """What the control port needs to know: its ring, its token, and where metrics come from."""

    namespace: str
    name: str
    token: str
    metrics: Callable[[], tuple[bytes, str]]  # text and content type


def create_app(config: Config, *, keep: keeper.Keeper, call: Call) -> flask.Flask:
    """The WSGI application of the control port."""
    app = flask.Flask("ringmaster-balancer", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES
    app.register_blueprint(_rings(config, keep=keep, call=call), url_prefix="/v1/rings")
    app.register_blueprint(_operations(config, keep=keep, call=call))
    title = f"{config.namespace}/{config.name}"
    app.register_blueprint(page.blueprint(title, keep=keep, call=call))
    app.register_error_handler(werkzeug.exceptions.HTTPException, _http_error)
    return app


def _rings(config: Config, *, keep: keeper.Keeper, call: Call) -> flask.Blueprint:
    rings = flask.Blueprint("rings", __name__)

    @rings.before_request
    def guard() -> None:
        _authorize(config.token)
        here = (config.namespace, config.name)
        asked = flask.request.view_args or {}
        if (asked.get("namespace"), asked.get("name")) != here:
            werkzeug.exceptions.abort(
                404, f"this balancer serves the ring {config.namespace}/{config.name}"
            )

    @rings.put("/<namespace>/<name>")
    def push(**_ring: str) -> Any:
        held = call(keep.push(_document()))
        return {"bootId": keep.boot_id, **_identity(held)}

    @rings.get("/<namespace>/<name>")
    def show(**_ring: str) -> Any:
        return _shown(call(keep.view()))

    @rings.delete("/<namespace>/<name>")
    def end(**_ring: str) -> Any:
        # A second ServerSet of this name never held it, and must not end it when it goes.
        call(keep.end(uid=flask.request.args.get("uid")))
        return {"bootId": keep.boot_id}

    @rings.get("/<namespace>/<name>/explain")
    def why(**_ring: str) -> Any:
        found = keep.explain(page.asked_key())
        if found is None:
            werkzeug.exceptions.abort(503, "no membership is held")
        return found

    @rings.post("/<namespace>/<name>/plan")
    def plan(**_ring: str) -> Any:
        return call(keep.plan(_document()))

    _faults(rings, keep)
    return rings


def _operations(config: Config, *, keep: keeper.Keeper, call: Call) -> flask.Blueprint:
    operations = flask.Blueprint("operations", __name__)

    @operations.get("/healthz")
    def healthz() -> Any:
        return {"status": "ok"}

    @operations.get("/readyz")
    def readyz() -> Any:
        if not call(_ready(keep)):
            return {"status": "no membership is in force yet"}, 503
        return {"status": "ok"}

    @operations.get("/metrics")
    def metrics() -> Any:
        text, content_type = config.metrics()
        return flask.Response(text, content_type=content_type)

    return operations


async def _ready(keep: keeper.Keeper) -> bool:
    return keep.ready()


def bears(authorization: str, token: str) -> bool:
    """Whether a value of Authorization bears the token, RFC 6750 §2.1."""
    scheme, _, given = authorization.partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    return scheme.lower() == "bearer" and same


def _authorize(token: str) -> None:
    if not bears(flask.request.headers.get("Authorization", ""), token):
        raise werkzeug.exceptions.Unauthorized(
            "a bearer token is needed",
            www_authenticate=werkzeug.datastructures.WWWAuthenticate("bearer"),
        )


def _document() -> Any:
    if flask.request.mimetype != "application/json":
        werkzeug.exceptions.abort(415, "the body must be application/json")
    try:
        return bodies.read(flask.request.get_data())
    except ValueError as error:
        werkzeug.exceptions.abort(400, f"the body is no JSON: {error}")


def _identity(held: ordering.Held | None) -> dict[str, Any]:
    if held is None:
        return {"epoch": 0, "generation": 0, "checksum": ""}
    epoch, generation = held.membership.version
    return {"epoch": epoch, "generation": generation, "checksum": held.checksum}


def _shown(view: keeper.View) -> dict[str, Any]:
    held = view.held
    return {
        "bootId": view.boot_id,
        **_identity(held),
        "uid": held.membership.uid if held else "",
        "source": held.source if held else "",
        "confirmed": view.confirmed,
        "replicas": held.membership.replicas if held else 0,
        "members": [
            {
                **member.model_dump(mode="json"),
                "healthy": view.healthy.get(member.replica, False),
                "inFlight": view.in_flight.get(member.replica, 0),
            }
            for member in (held.membership.members if held else ())
        ],
    }


def _faults(rings: flask.Blueprint, keep: keeper.Keeper) -> None:
    """Our own errors as answers: `message` for people, `reason` for programs."""

    @rings.errorhandler(errors.MembershipInvalid)
    def invalid(error: errors.MembershipInvalid) -> Any:
        faults = [{"path": fault.path, "message": fault.message} for fault in error.faults]
        return {"message": str(error), "reason": "Invalid", "faults": faults}, 422

    @rings.errorhandler(gate.HashRefused)
    def hash_refused(error: gate.HashRefused) -> Any:
        faults = [{"path": fault.path, "message": fault.message} for fault in error.faults]
        verdict = error.verdict.to_document()
        document = {"message": str(error.faults[0].message), "reason": "HashRefused"}
        return {**document, "faults": faults, "verdict": verdict}, 422

    @rings.errorhandler(gate.OnTrial)
    def on_trial(error: gate.OnTrial) -> Any:
        return {"message": str(error), "reason": "HashOnTrial"}, 503, {"Retry-After": "1"}

    @rings.errorhandler(keeper.PushRefused)
    def refused(error: keeper.PushRefused) -> Any:
        # The held epoch tells a lower operator that it shall fence itself.
        uid = error.held.membership.uid if error.held else ""
        known = {"bootId": keep.boot_id, **_identity(error.held), "uid": uid}
        return {"message": str(error), "reason": error.verdict.value, **known}, 409

    @rings.errorhandler(keeper.NotConfirmed)
    def not_confirmed(error: keeper.NotConfirmed) -> Any:
        return {"message": str(error), "reason": "NotConfirmed"}, 503, {"Retry-After": "1"}

    @rings.errorhandler(disk.DiskError)
    def disk_fault(error: disk.DiskError) -> Any:
        return {"message": str(error), "reason": "Disk"}, 500


def _http_error(error: werkzeug.exceptions.HTTPException) -> Any:
    """Every other error as JSON, with the headers that belong to it (Allow, WWW-Authenticate)."""
    response = flask.make_response(error.get_response())
    response.data = json.dumps({"message": error.description, "reason": error.name})
    response.content_type = "application/json"
    return response
