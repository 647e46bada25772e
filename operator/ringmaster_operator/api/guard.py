"""What stands before every handler: no browser, no stranger, and every error a Status document.

Law: this API starts commands, and any web page can make a browser send requests to loopback. So a
request with an Origin, or for a Host that is not loopback (a name that was pointed here, DNS
rebinding), is refused, whatever its path; with a token configured everything but the health paths
needs it. Names other than loopback's are let through if whoever started the operator named them,
or if a certificate proves them.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Collection

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ringmaster_operator import errors
from ringmaster_operator.api import problems

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_KNOWN = web.RequestKey("bears_the_token", bool)
HEALTH_PATHS = frozenset({"/healthz", "/livez", "/readyz"})

_log = structlog.get_logger(__name__)


def respond(problem: problems.Problem) -> web.Response:
    """A problem as a response."""
    headers = {"WWW-Authenticate": "Bearer"} if problem.code == 401 else None  # noqa: PLR2004
    return web.json_response(problem.document(), status=problem.code, headers=headers)


@web.middleware
async def statuses(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error with a Status document; what nobody expected is logged, and a 500."""
    try:
        answer = await handler(request)
    except errors.RingmasterError as error:
        answer = respond(problems.of(error, name=request.match_info.get("name", "")))
    except web.HTTPException as error:
        answer = respond(_foreign(error, request))
    except Exception:  # noqa: BLE001 – the outermost door: a bug is logged, and answered as 500
        _log.exception("api_failed", method=request.method, path=request.path)
        answer = respond(problems.Problem(500, "an internal error occurred; the log has it"))
    if request.method not in _SAFE:
        _log.info("api_write", method=request.method, path=request.path, status=answer.status)
    return answer


def no_browsers(hosts: Collection[str] = ()) -> Middleware:
    """403 for what a web page may have sent; `hosts` are names that are as good as loopback's."""
    known = frozenset(host.lower() for host in hosts)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if "Origin" in request.headers:
            raise problems.Problem(403, "requests of web pages are refused: there is an Origin")
        host = request.headers.get("Host", "")
        # Over TLS the client has checked the name, and a page that was pointed here cannot.
        if not request.secure and not is_loopback(host) and _name(host) not in known:
            raise problems.Problem(
                403, f"requests for the Host {host!r} are not served here: it is not loopback"
            )
        return await handler(request)

    return check


def bearer(token: str) -> Middleware:
    """401 for whoever does not know the token."""
    wanted = token.encode()

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        known = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), wanted)
        if request.path not in HEALTH_PATHS and not (known and scheme.lower() == "bearer"):
            raise problems.Problem(401, "Unauthorized")
        request[_KNOWN] = known
        return await handler(request)

    return check


def bore_token(request: web.Request) -> bool:
    """Whether a token was wanted, and the request bore it."""
    return bool(request.get(_KNOWN))


def is_loopback(host: str) -> bool:
    """Whether a Host header (or an address to listen on) names this machine's loopback."""
    name = _name(host)
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """A Host header without its port, in lower case; empty if it cannot be read."""
    name = host.lower()
    if name.startswith("["):
        name, bracket, port = name[1:].partition("]")
        return "" if not bracket or (port and not _is_port(port)) else name
    if name.count(":") == 1:
        name, _, port = name.partition(":")
        return name if port.isdecimal() else ""
    return name


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isdecimal()


def _foreign(error: web.HTTPException, request: web.Request) -> problems.Problem:
    """What aiohttp itself refuses: no such path, a method that is not for it, too large a body."""
    match error.status:
        case 404:
            return problems.no_such_path()
        case 405:
            return problems.Problem(
                405, f"the server does not allow {request.method} on the requested resource"
            )
        case 413:
            return problems.Problem(413, "the request body is too large")
        case code:
            return problems.Problem(code, error.reason)
