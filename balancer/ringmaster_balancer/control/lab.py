"""The students' API on the data port: `/rep`, `/add`, `/rm`, handed over by the data plane.

Law: edge. `/rep` is answered from the membership, the two others by the operator, which owns the
spec and judges names and counts; its answer is passed through. Served on a Unix socket that only
the workers know, `/lab/*` and nothing else. Every error has the form of the assignment.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flask
import requests
import structlog
import werkzeug.exceptions

from ringmaster_balancer import members
from ringmaster_balancer.control import bodies

_log = structlog.get_logger()

_BODY_BYTES = 1024 * 1024
# The operator waits up to 60 s for replicas to serve.
_TIMEOUT = (2.0, 65.0)
_VERDICTS = frozenset({"successful", "failure"})
# Each waits up to a minute and holds a thread; `/rep` and a few others must find one free.
_CHANGES = 6


@dataclass(frozen=True, slots=True)
class Config:
    """The ring, and the operator's address and token; without an address nothing can be changed."""

    namespace: str
    name: str
    operator_url: str | None
    token: str


def create_app(config: Config, *, current: Callable[[], members.Membership | None]) -> flask.Flask:
    """The WSGI application of the lab socket."""
    app = flask.Flask("ringmaster-lab", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _BODY_BYTES
    places = threading.BoundedSemaphore(_CHANGES)

    def change(verb: str) -> Any:
        _refuse_browsers()
        body = _document()
        if not places.acquire(blocking=False):
            werkzeug.exceptions.abort(503, "too many changes wait already")
        try:
            return _ask(config, verb=verb, body=body)
        finally:
            places.release()

    @app.get("/lab/rep")
    def rep() -> Any:
        membership = current()
        if membership is None:
            werkzeug.exceptions.abort(
                503, "there is no membership: none has come yet, or its ServerSet was deleted"
            )
        names = [m.replica for m in membership.members if m.state is members.State.ACTIVE]
        return {"message": {"N": len(names), "replicas": names}, "status": "successful"}

    @app.post("/lab/add")
    def add() -> Any:
        return change("add")

    @app.route("/lab/rm", methods=["DELETE", "POST"])
    def remove() -> Any:
        return change("rm")

    app.register_error_handler(werkzeug.exceptions.HTTPException, _failure)
    return app


def _refuse_browsers() -> None:
    """A page from elsewhere may not scale the set; only browsers send these fields."""
    site = flask.request.headers.get("Sec-Fetch-Site", "none")
    if "Origin" in flask.request.headers or site not in {"none", "same-origin"}:
        werkzeug.exceptions.abort(403, "not from a web page")


def _document() -> Any:
    """The body, whatever its content type says: `curl -d` claims a form."""
    try:
        document = bodies.read(flask.request.get_data())
    except ValueError:
        werkzeug.exceptions.abort(400, "the body is not valid JSON")
    if not isinstance(document, dict):
        werkzeug.exceptions.abort(400, "the body must be a JSON object")
    return document


def _ask(config: Config, *, verb: str, body: Any) -> flask.Response:
    if config.operator_url is None:
        werkzeug.exceptions.abort(503, "this balancer knows no operator")
    path = f"/lab/v1/namespaces/{config.namespace}/serversets/{config.name}/{verb}"
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy, no .netrc: the token goes to the operator only
            answer = session.post(
                config.operator_url.rstrip("/") + path,
                json=body,
                headers={"Authorization": f"Bearer {config.token}"},
                timeout=_TIMEOUT,
                allow_redirects=False,
            )
            return _passed_on(answer)
    except requests.RequestException as error:
        _log.warning(
            "operator did not answer", url=config.operator_url, reason=type(error).__name__
        )
        werkzeug.exceptions.abort(503, "the operator does not answer")


def _passed_on(answer: requests.Response) -> flask.Response:
    """The operator's own words, if they have the assignment's form."""
    document = answer.json()
    # Kubernetes' Status documents, by which the operator refuses a token, have a `status` too.
    if not isinstance(document, dict) or document.get("status") not in _VERDICTS:
        said = document.get("message", "") if isinstance(document, dict) else ""
        _log.error("operator answered unexpectedly", code=answer.status_code, message=said)
        words = f": {said}" if said else ""
        werkzeug.exceptions.abort(503, f"the operator answered {answer.status_code}{words}")
    return flask.Response(answer.content, answer.status_code, content_type="application/json")


def _failure(error: werkzeug.exceptions.HTTPException) -> flask.Response:
    response = flask.make_response(error.get_response())
    response.data = json.dumps({"message": f"<Error> {error.description}", "status": "failure"})
    response.content_type = "application/json"
    return response
