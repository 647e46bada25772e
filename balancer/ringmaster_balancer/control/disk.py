"""The last good membership on disk: written whole or not at all, believed only if it is whole.

Law: edge. One file a ring. The file's modification time is the time of the holder's last push, so
that a push of what is held already costs no write. Who calls: `store`.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ringmaster_balancer import errors, members


class DiskError(errors.BalancerError):
    """The file cannot be read, written or believed; the message says which."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What was found; `pushed_at` in seconds since 1970."""

    membership: members.Membership
    checksum: str
    pushed_at: float


class Disk:
    """The file of one ring in the state folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Saved | None:
        """What was kept, None if nothing was.

        Raises:
            DiskError: there is a file, and it is not what `save` wrote.
        """
        try:
            raw = self.path.read_bytes()
            pushed_at = self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DiskError(f"cannot read {self.path}: {error.strerror}") from error
        try:
            document = json.loads(raw)
            membership = members.parse(document["membership"])
            claimed = document["checksum"]
        except (ValueError, KeyError, TypeError, RecursionError, errors.BalancerError) as error:
            raise DiskError(f"{self.path} is damaged: {error}") from error
        if members.checksum(membership) != claimed:
            raise DiskError(f"{self.path} is damaged: its checksum does not match")
        return Saved(membership=membership, checksum=claimed, pushed_at=pushed_at)

    def save(self, membership: members.Membership, *, checksum: str) -> None:
        """Durable when it returns.

        Raises:
            DiskError: not written; an earlier file is as it was.
        """
        document = {"checksum": checksum, "membership": membership.model_dump(mode="json")}
        draft = self.path.with_name(self.path.name + ".new")
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)  # somebody may have removed it
            with draft.open("w") as file:
                json.dump(document, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            self._sync_folder()
        except OSError as error:
            raise DiskError(f"cannot write {self.path}: {error.strerror}") from error

    def touch(self) -> None:
        """The holder pushed the same again. Best effort: the next push does it anew."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def remove(self) -> None:
        """Forget the ring.

        Raises:
            DiskError: the file is still there.
        """
        try:
            self.path.unlink(missing_ok=True)
            self._sync_folder()
        except OSError as error:
            raise DiskError(f"cannot remove {self.path}: {error.strerror}") from error

    def _sync_folder(self) -> None:
        """A rename is durable once its folder is."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
