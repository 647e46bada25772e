"""What text may be: names, labels, URLs, header names. One predicate each, its source named.

Law: pure.
"""

from __future__ import annotations

import re
import urllib.parse

_DNS_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_REPLICA_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_CUSTOM_HASH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_MAX_SUBDOMAIN = 253


def is_dns_label(text: str) -> bool:
    """RFC 1123: at most 63 lower-case letters, digits and `-`, the latter not at an end."""
    return _DNS_LABEL.fullmatch(text) is not None


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
    return _TOKEN.fullmatch(text) is not None


def is_python_name(text: str) -> bool:
    """`module:function`."""
    return _CUSTOM_HASH.fullmatch(text) is not None


def is_server_url(text: str) -> bool:
    """Scheme, host and port of an HTTP server and nothing else: no path, no credentials."""
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and not {" ", "@", "?", "#", "\\"} & set(text)
    named = bool(parts.hostname) and port != 0
    return plain and named and parts.scheme in ("http", "https") and parts.path in ("", "/")
