"""Files that the user names for an output: a picture, a kubeconfig.

Law: a file is written whole or not at all; what is no file (a device, a pipe) is written into and
stays what it is. A link is followed.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ringmaster_operator import errors, statedir

_MODE = 0o666  # less the umask, as every program's new file


def write(path: Path, text: str, *, private: bool = False) -> None:
    """Write the text. `private`: for the owner only; else a file that exists keeps its mode.

    Raises:
        UsageError: it cannot be written; one line.
    """
    try:
        found = _status(path)
        if found is not None and not stat.S_ISREG(found.st_mode):
            # Nothing to be put in its place: a folder refuses, /dev/null, a pipe or a terminal
            # takes it. Not resolved either, since the target of /dev/stdout may have no name.
            path.write_text(text, encoding="utf-8")
            return
        if private:
            mode = 0o600
        else:
            mode = _MODE & ~_umask() if found is None else stat.S_IMODE(found.st_mode)
        # `realpath`, since Python 3.11's `resolve` raises RuntimeError at links in a circle.
        statedir.write_atomically(Path(os.path.realpath(path)), text, mode=mode)
    except OSError as error:
        raise errors.UsageError(f"{path} cannot be written: {error.strerror}") from error


def is_standard_output(path: Path) -> bool:
    """Whether a path leads to where standard output goes, as /dev/stdout does.

    A file put in its place would take the rest of the output, or what `>>` was to keep.
    """
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def is_regular(path: Path) -> bool:
    """Whether there is a file that can be read through to its end."""
    found = _status(path)
    return found is not None and stat.S_ISREG(found.st_mode)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _umask() -> int:
    """It can be read by setting it only."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
