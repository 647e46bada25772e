"""Which server a command means, and what that asks for.

Law: what the user says wins; else what the operator that acts on the state folder wrote there.
"""

from __future__ import annotations

from pathlib import Path

from ringmaster_operator import client, errors, statedir
from ringmaster_operator.cli import kubeconfig as kubeconfigs
from ringmaster_operator.up import children


def server_of(state: statedir.StateDir) -> str:
    """The API of the operator that acts on a state folder, else the usual one."""
    record = statedir.read_json(state.run_file("operator"))
    if (ports := record.get("ports")) and children.find(record):
        return f"http://127.0.0.1:{ports[0]}"
    return str(statedir.read_json(state.api_file).get("url") or "http://127.0.0.1:7070")


def credentials_of(
    state: statedir.StateDir, *, authority: Path | None, token_file: Path | None
) -> client.Credentials:
    """What a server with TLS asks for; what is not given is what its state folder has, if it is here.

    Raises:
        UsageError: there is a token file, but it cannot be used.
    """
    own = state.authority_file
    recorded = statedir.read_json(state.api_file).get("tokenFile")
    path = token_file or Path(str(recorded or state.token_file))
    token: str | None = None
    try:
        token = statedir.read_token(path)
    except FileNotFoundError as error:
        if token_file is not None:
            raise errors.UsageError(f"there is no token file {token_file}") from error
    return client.Credentials(authority=authority or (own if own.exists() else None), token=token)


def kubeconfig(
    state: statedir.StateDir,
    *,
    server: str | None,
    credentials: client.Credentials,
    namespace: str,
) -> str:
    """A kubeconfig for a server; what is not given is the one that acts on the state folder.

    Raises:
        UsageError: the server has TLS, but there is no token, or the authority cannot be read.
    """
    named = [str(each) for each in statedir.read_json(state.api_file).get("names") or []]
    secure = [each for each in named if _is_secure(each)]
    found = server or next(iter(secure), server_of(state))
    if not _is_secure(found):
        return kubeconfigs.text(found, namespace=namespace, authority=None, token=None)
    if credentials.token is None:
        raise errors.UsageError(f"{found} wants a token: --token-file names it")
    authority = credentials.authority
    try:
        text = None if authority is None else authority.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"{authority} cannot be read: {error}") from error
    return kubeconfigs.text(found, namespace=namespace, authority=text, token=credentials.token)


def _is_secure(server: str) -> bool:
    return server.lower().startswith("https://")
