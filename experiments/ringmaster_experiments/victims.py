"""`kill -9` of one replica, wherever replicas live.

Law: edge. Only what the operator lists as a replica of the ServerSet under experiment is killed.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Mapping

import psutil

from ringmaster_experiments import errors, server

_LABEL = "ringmaster.dev"
_PODS = (
    'jsonpath={range .items[*]}{.metadata.uid} {.metadata.namespace} {.metadata.name}{"\\n"}{end}'
)
SERVER_IMAGE = "ringmaster/server:0.1.0"


def found(replica: server.Replica, *, runtime: str) -> Callable[[], None]:
    """What kills this replica; looked for now, so that the call itself takes no time.

    ExperimentError if it cannot be reached from here.
    """
    return _FINDERS[runtime](replica)


def _process(replica: server.Replica) -> Callable[[], None]:
    """The processes that were given this replica's id and port."""
    port = replica.address.rpartition(":")[2]
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # gone, or another user's
            environment = process.environ()
            if (environment.get("SERVER_ID"), environment.get("PORT")) == (replica.name, port):
                processes.append(process)
    if not processes:
        raise errors.ExperimentError(
            f"no process of {replica.name} is here: are its replicas on another machine, "
            "or in containers (--runtime docker)?"
        )

    def kill() -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    return kill


def _docker(replica: server.Replica) -> Callable[[], None]:
    """The container that is labelled as this member's replica and has its id."""
    labels = (f"label={_LABEL}/member-id={replica.member}", f"label={_LABEL}/name={replica.name}")
    filters = [word for label in labels for word in ("--filter", label)]
    ids = _run("docker", "ps", "--quiet", "--no-trunc", *filters).split()
    if replica.uid not in ids:
        raise errors.ExperimentError(f"no container of {replica.name} is here")
    return lambda: _killed(replica.uid)


def _killed(container: str) -> None:
    _run("docker", "kill", "--signal", "KILL", container)


def _kubernetes(replica: server.Replica) -> Callable[[], None]:
    """The pod with this id and this member's labels, of the cluster that kubectl talks to.

    Its deletion without grace is what comes next to `kill -9`: a process that merely dies is the
    kubelet's to start again in the same pod, and nothing is replaced.
    """
    wanted = f"{_LABEL}/member-id={replica.member},{_LABEL}/name={replica.name}"
    said = _run("kubectl", "get", "pods", "--all-namespaces", "-l", wanted, "-o", _PODS)
    for line in said.splitlines():
        uid, namespace, name = line.split()
        if uid == replica.uid:
            return lambda: _deleted(namespace, name)
    raise errors.ExperimentError(f"no pod of {replica.name} is in kubectl's cluster")


def _deleted(namespace: str, name: str) -> None:
    _run(
        "kubectl", "delete", "pod", name, "--namespace", namespace, "--grace-period=0", "--force",
        "--wait=false",
    )  # fmt: skip


def docker_fault() -> str:
    """Why there is no Docker Engine with the example server's image here, or nothing."""
    try:
        _run("docker", "image", "inspect", SERVER_IMAGE)
    except errors.ExperimentError as error:
        return str(error)
    return ""


def _run(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 – argv list, no shell
            command, capture_output=True, text=True, timeout=30, check=True
        )
    except FileNotFoundError as error:
        raise errors.ExperimentError(f"there is no {command[0]} in PATH") from error
    except (subprocess.SubprocessError, OSError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        raise errors.ExperimentError(f"{command[0]} {command[1]}: {said}") from error
    return done.stdout


_FINDERS: Mapping[str, Callable[[server.Replica], Callable[[], None]]] = {
    "process": _process,
    "docker": _docker,
    "kubernetes": _kubernetes,
}
