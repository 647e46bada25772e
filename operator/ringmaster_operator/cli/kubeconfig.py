"""A kubeconfig for the local API, so that `kubectl` needs no option at all.

Law: pure, but for `write`, which never overwrites what somebody else wrote.
"""

from __future__ import annotations

import base64
from pathlib import Path

from ringmaster_operator import errors, printers
from ringmaster_operator.cli import outputs

_MARK = "# Made by `ringmaster kubeconfig`.\n"
_NAME = "ringmaster"


def text(server: str, *, namespace: str, authority: str | None, token: str | None) -> str:
    """The file. Without TLS there is neither authority (PEM) nor token."""
    cluster = {"server": server}
    if authority is not None:
        cluster["certificate-authority-data"] = base64.b64encode(authority.encode()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "users": [{"name": _NAME, "user": {} if token is None else {"token": token}}],
        "contexts": [
            {
                "name": _NAME,
                "context": {"cluster": _NAME, "user": _NAME, "namespace": namespace},
            }
        ],
        "current-context": _NAME,
    }
    return _MARK + printers.to_yaml(document, sort_keys=False)


def write(path: Path, content: str) -> None:
    """Write the file, for its owner only: a token is in it.

    Raises:
        UsageError: there is a file of somebody else's, or it cannot be written.
    """
    try:
        foreign = outputs.is_regular(path) and not path.read_bytes().startswith(_MARK.encode())
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be written: {error.strerror}") from error
    if foreign:
        raise errors.UsageError(f"{path} is not of our making, and stays: name another file")
    outputs.write(path, content, private=True)
