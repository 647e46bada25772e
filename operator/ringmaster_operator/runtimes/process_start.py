"""Turns a template's container into a process of its own.

Law: an argv list, never a shell; a session and group of its own, no pipes: it outlives us.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import BinaryIO

from ringmaster_operator import errors, spec
from ringmaster_operator.runtimes import process_ledger, process_os

# Where replicas listen if they heed HOST, and where they are probed: nobody else can reach them.
HOST = "127.0.0.1"


def container(record: process_ledger.Record) -> spec.Container:
    """The template's container with what a process is handed: its name, its host and its port."""
    return spec.container(
        record.template,
        defaults={"SERVER_ID": record.display_name, "HOST": HOST},
        overrides={"PORT": str(record.port)},
    )


def environment(
    record: process_ledger.Record, view: spec.Container, *, state: Path
) -> dict[str, str]:
    """Ours, then the template's, then the marks by which the process is found again."""
    return process_os.environment() | view.env | process_os.marks(state, record.uid)


def folder(view: spec.Container) -> str:
    """Where its programs start: never where the operator happened to be started."""
    return view.working_dir or "/"  # as a container does whose image names none


def spawn(record: process_ledger.Record, *, state: Path, log: BinaryIO) -> subprocess.Popen[bytes]:
    """Start the process; its output goes to `log`.

    Raises:
        RefusedError: there is no such program, or it is none.
        RetryLater: memory, processes or descriptors ran out.
    """
    view = container(record)
    command = [*view.command, *view.args]
    if not command:
        raise errors.RefusedError("InvalidCommand", "the process runtime needs a command")
    try:
        return subprocess.Popen(  # noqa: S603 – an argv list from the ServerSet, no shell
            command,
            env=environment(record, view, state=state),
            cwd=folder(view),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise _why_not(command[0], error) from error


def _why_not(program: str, error: OSError | ValueError) -> errors.RingmasterError:
    if not isinstance(error, OSError):  # a NUL byte
        return errors.RefusedError("InvalidCommand", f"cannot start {program!r}: {error}")
    words = f"cannot start {program!r}: {error.strerror}: {error.filename or program}"
    if errors.shortage(error):  # passes again; anything else fails until somebody changes something
        return errors.RetryLater(words)
    return errors.RefusedError("InvalidCommand", words)
