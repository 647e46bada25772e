"""What text may be: names, labels, URLs, header names. One predicate each, its source named.

Law: pure.
"""

from __future__ import annotations

import re
import urllib.parse

DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_REPLICA_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}", re.ASCII)
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_CUSTOM_HASH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
ENV_NAME = re.compile(r"[ -<>-~]+")
PORT_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
PROBE_PATH = re.compile(r'[!"$-~]*')
FIELD_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_MAX_SUBDOMAIN = 253
_MAX_PORT_NAME = 15
_PORTS = {"http": 80, "https": 443}


def is_dns_label(text: str) -> bool:
    """RFC 1123: at most 63 lower-case letters, digits and `-`, the latter not at an end."""
    return DNS_LABEL.fullmatch(text) is not None


def is_label_key(text: str) -> bool:
    """A label's name as Kubernetes has it: `app`, `example.org/app`."""
    prefix, slash, name = text.rpartition("/")
    sound = len(prefix) <= _MAX_SUBDOMAIN and _SUBDOMAIN.fullmatch(prefix) is not None
    return bool(name) and is_label_value(name) and (not slash or sound)


def is_label_value(text: str) -> bool:
    """A label's value as Kubernetes has it: at most 63 characters, or none."""
    return _LABEL_VALUE.fullmatch(text) is not None


def is_replica_name(text: str) -> bool:
    """A container's name as Docker allows it (moby, RestrictedNameChars), at most 63 long."""
    return _REPLICA_NAME.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """A field's name in HTTP, RFC 9110 section 5.6.2."""
    return TOKEN.fullmatch(text) is not None


def is_probe_path(text: str) -> bool:
    """A target as a request line takes it, RFC 9112 section 3.2.1: visible ASCII, no fragment.

    The first slash may be missing, as Kubernetes has it.
    """
    return PROBE_PATH.fullmatch(text) is not None


def origin_form(path: str) -> str:
    """A probe's path as it is sent, whatever it holds: what no target may hold is escaped."""
    return urllib.parse.quote("/" + path.removeprefix("/"), safe="/?&=%:@!$'()*+,;[]~-._")


def is_field_value(text: str) -> bool:
    """A field's value in HTTP, RFC 9110 section 5.5: no control character but the tab."""
    return FIELD_VALUE.fullmatch(text) is not None


def is_env_name(text: str) -> bool:
    """A variable's name as Kubernetes has it since 1.30: printable ASCII without `=`."""
    return ENV_NAME.fullmatch(text) is not None


def is_port_name(text: str) -> bool:
    """RFC 6335 section 5.1 in lower case, as Kubernetes has it: `http`, `metrics-2`."""
    sound = PORT_NAME.fullmatch(text) is not None and not text.replace("-", "").isdigit()
    return sound and len(text) <= _MAX_PORT_NAME


def is_python_name(text: str) -> bool:
    """`module:function`."""
    return _CUSTOM_HASH.fullmatch(text) is not None


def server_of(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of a server's URL that says nothing else: no path, no credentials.

    Equal for two spellings of one server; None if it is no such URL.
    """
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    plain = text.isascii() and text.isprintable() and not {" ", "@", "?", "#", "\\"} & set(text)
    if not (plain and parts.hostname and port != 0 and parts.path in ("", "/")):
        return None
    if parts.scheme not in _PORTS:
        return None
    return parts.scheme, parts.hostname, port or _PORTS[parts.scheme]
