"""The key of a request: what decides which member serves it.

Law: pure. `compile` turns `spec.ring.key` into one function, once per membership; the data plane
calls it for every request with the raw pieces of the head. The first source that is present wins;
an empty value counts as absent, or all who send none would meet on one member.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Sequence

from ringmaster_balancer import members

Headers = Sequence[tuple[bytes, bytes]]  # names in lower case
Extract = Callable[[bytes, Headers, str], bytes | None]

_BLANKS = b" \t"  # RFC 9110 section 5.6.3, OWS
_SCHEME_AND_AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


def compile(sources: Sequence[members.KeySource]) -> Extract:  # noqa: A001 – read as keys.compile
    """A function (request target, headers, client address) -> key; None asks for a random one."""
    extracts = tuple(_extract(source) for source in sources)
    if len(extracts) == 1:
        return extracts[0]

    def first_present(target: bytes, headers: Headers, client: str) -> bytes | None:
        for extract in extracts:
            key = extract(target, headers, client)
            if key is not None:
                return key
        return None

    return first_present


def _extract(source: members.KeySource) -> Extract:
    if source.header is not None:
        return _header(source.header)
    if source.cookie is not None:
        return _cookie(source.cookie)
    if source.query is not None:
        return _query(source.query)
    if source.path:
        return _path
    return _client_address


def _header(name: str) -> Extract:
    """The first field of that name, without blanks around it."""
    wanted = name.lower().encode()

    def extract(_target: bytes, headers: Headers, _client: str) -> bytes | None:
        for field, value in headers:
            if field == wanted:
                return value.strip(_BLANKS) or None
        return None

    return extract


def _cookie(name: str) -> Extract:
    """The first cookie of that name, as sent (RFC 6265 section 4.2.1): quotes belong to it."""
    wanted = name.encode()

    def extract(_target: bytes, headers: Headers, _client: str) -> bytes | None:
        for field, value in headers:
            if field != b"cookie":
                continue
            for pair in value.split(b";"):
                cookie, equals, content = pair.partition(b"=")
                if equals and cookie.strip(_BLANKS) == wanted:
                    return content.strip(_BLANKS) or None
        return None

    return extract


def _query(name: str) -> Extract:
    """The first parameter of that name, without blanks around it."""
    wanted = name.encode()

    def extract(target: bytes, _headers: Headers, _client: str) -> bytes | None:
        value = parameter(target.partition(b"#")[0].partition(b"?")[2], wanted)
        return (value and value.strip(_BLANKS)) or None

    return extract


def parameter(query: bytes, name: bytes) -> bytes | None:
    """The first parameter of that name, decoded as a form is: %41 and A are one key, + a blank.

    The control port reads by it too which key it is asked about: bytes of whatever encoding, where
    a web framework reads text and leaves %FF, which is no UTF-8, as it is.
    """
    for pair in query.split(b"&"):
        found, _, value = pair.partition(b"=")
        if _form_decoded(found) == name:
            return _form_decoded(value)
    return None


def _path(target: bytes, _headers: Headers, _client: str) -> bytes | None:
    """The path without query, decoded: two spellings of one path are one key."""
    path = target.partition(b"#")[0].partition(b"?")[0]
    if not path.startswith(b"/"):
        path = _SCHEME_AND_AUTHORITY.sub(b"", path, count=1) or b"/"  # the absolute form
    return urllib.parse.unquote_to_bytes(path) if b"%" in path else path


def _client_address(_target: bytes, _headers: Headers, client: str) -> bytes | None:
    return client.encode() or None


def _form_decoded(text: bytes) -> bytes:
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return urllib.parse.unquote_to_bytes(text) if b"%" in text else text
