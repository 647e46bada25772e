"""Which runtime a state folder's replicas live in, and opening it.

Law: a folder has one runtime for as long as it has ServerSets; whoever comes later (`ringmaster
down`, the next operator) reads which, so that nobody looks for containers among processes.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ringmaster_operator import errors, ports, statedir

if TYPE_CHECKING:
    from ringmaster_operator.runtimes import docker, process

PROCESS, DOCKER = "process", "docker"


class Runtime(ports.Runtime, Protocol):
    """A runtime without a cluster."""

    def name_fault(self, name: str) -> str:
        """Why no replica can have this name now, or nothing."""
        ...

    def owners(self) -> frozenset[str]:
        """The UIDs of all ServerSets that have replicas on record in this folder."""
        ...

    def close(self) -> None:
        """Let go of every replica; they run on."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """`network` and `project` are Docker's: where replicas are, whose they are for compose."""

    kind: str = PROCESS
    network: str = "bridge"
    project: str = ""


def recorded(state: statedir.StateDir) -> Choice:
    """What the folder's last operator chose."""
    known: Mapping[str, Any] = statedir.read_json(state.runtime_file)
    fields = {field.name for field in dataclasses.fields(Choice)}
    return Choice(**{name: str(value) for name, value in known.items() if name in fields})


def check(state: statedir.StateDir, choice: Choice, *, empty: bool) -> None:
    """Whether this may be chosen. `empty`: it has no ServerSet, so that nothing can be lost.

    Raises:
        UsageError: it has replicas elsewhere.
    """
    before = recorded(state)
    if before.kind != choice.kind and not empty:
        raise errors.UsageError(
            f"the ServerSets of the state folder {state.root} run on the runtime {before.kind}: "
            "delete them first, or choose another folder with --state-dir"
        )


def record(state: statedir.StateDir, choice: Choice) -> None:
    """Choose for the folder, once it was seen to work."""
    if recorded(state) != choice:
        text = json.dumps(dataclasses.asdict(choice), sort_keys=True)
        statedir.write_atomically(state.runtime_file, text)


def opened(state: statedir.StateDir, choice: Choice) -> Runtime:
    """The runtime, connected.

    Raises:
        UsageError: it cannot be used; one line.
    """
    return _docker(state, choice) if choice.kind == DOCKER else _process(state)


def end_marked(state: statedir.StateDir, *, grace: float) -> int:
    """End the containers of a folder that no longer says where its replicas are; how many.

    Raises:
        RetryLater: the engine does not answer any more.
    """
    from ringmaster_operator.runtimes import docker  # noqa: PLC0415 – as below

    return docker.end_marked(state.docker, grace=grace)


def _process(state: statedir.StateDir) -> process.ProcessRuntime:
    from ringmaster_operator.runtimes import process  # noqa: PLC0415 – only who needs it loads it

    return process.ProcessRuntime(state.runtime)


def _docker(state: statedir.StateDir, choice: Choice) -> docker.DockerRuntime:
    from ringmaster_operator.runtimes import docker  # noqa: PLC0415 – as above; 0.2 s to import

    return docker.DockerRuntime(state.docker, network=choice.network, project=choice.project)
