"""Spec files: found, read, and applied to the local store when their content has changed.

Law: a file that says what it said before is not applied again, so that a scale, an /add or a
deletion survives a restart. What was said last is remembered per ServerSet, as a hash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ringmaster_operator import applying, errors, spec, statedir
from ringmaster_operator.api import admission, problems
from ringmaster_operator.spec import manifest

if TYPE_CHECKING:
    from ringmaster_operator import store

Document = dict[str, Any]
Stamp = tuple[tuple[str, int, int], ...]
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})  # what kubectl takes from a folder


@dataclass(frozen=True, slots=True)
class Found:
    """A ServerSet as it was written, and where: `web.yaml:12`, the file and the line."""

    document: Document
    place: str

    def key(self) -> tuple[str, str]:
        """Namespace and name.

        Raises:
            SpecInvalidError: it has no name.
        """
        metadata = self.document.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        if not isinstance(metadata, dict) or not isinstance(name, str):
            raise errors.SpecInvalidError((self.at(errors.Fault("metadata.name", "required")),))
        return metadata.get("namespace") or "default", name

    def at(self, fault: errors.Fault) -> errors.Fault:
        """The fault, and where the ServerSet is that has it."""
        return errors.Fault(path=fault.path, message=f"{fault.message} ({self.place})")

    @contextlib.contextmanager
    def named(self, *kinds: type[errors.RingmasterError]) -> Iterator[None]:
        """Errors of these kinds get a note that says where the ServerSet is."""
        try:
            yield
        except kinds as error:
            error.add_note(f"({self.place})")
            raise


def read(paths: Sequence[str], *, namespace: str | None = None) -> list[Found]:
    """Every ServerSet in files, folders (not below them) and `-` (standard input).

    A folder may hold objects of other API groups besides, a file may not. `namespace` is for
    documents that name none.

    Raises:
        UsageError: a file is not there or cannot be read, or names another namespace.
        SpecInvalidError: a text is no manifest.
    """
    found: list[Found] = []
    for path in paths:
        folder = _is_folder(path)
        before = len(found)
        for source, text in _texts(path, folder=folder):
            for place, document in manifest.located(text, source=source, among_others=folder):
                found.append(Found(_placed(document, namespace=namespace), place))
        if len(found) == before:
            raise errors.UsageError(f'the folder "{path}" holds no ServerSet')
    return found


def checked(found: Sequence[Found], check: admission.Check | None = None) -> list[Found]:
    """The same, if all are right.

    Raises:
        SpecInvalidError: every fault of every document, each path led by the object's name and
            each message followed by the object's place.
    """
    faults: list[errors.Fault] = []
    for each in found:
        metadata = each.document.get("metadata")
        name = metadata.get("name", "?") if isinstance(metadata, dict) else "?"
        faults += [
            each.at(errors.Fault(path=f"{name}: {fault.path}", message=fault.message))
            for fault in _faults(each.document, check)
        ]
    if faults:
        raise errors.SpecInvalidError(tuple(faults))
    return list(found)


def stamp(paths: Sequence[str]) -> Stamp:
    """Something that changes when a file of `paths` is written: cheap to ask for every second.

    What cannot be looked at counts as not there.
    """
    found = []
    for path in paths:
        for file in _listed(Path(path)):
            with contextlib.suppress(OSError):
                seen = file.stat()
                found.append((str(file), seen.st_mtime_ns, seen.st_size))
    return tuple(found)


class Applier:
    """Applies documents to the store, each content once."""

    def __init__(self, *, records: store.Store, remembered: Path, check: admission.Check) -> None:
        self._records = records
        self._remembered = remembered
        self._check = check

    def apply(self, found: Sequence[Found], *, missing: bool = False) -> list[str]:
        """Apply what has changed since it was applied last; the lines that say what was done.

        `missing`: also what is unchanged but not there any more.

        Raises:
            RetryLater: the store failed, or what was applied cannot be remembered.
        """
        said = statedir.read_json(self._remembered)
        # In a store that was never written to nothing was deleted: the one of before is lost.
        missing = missing or self._records.list().version == 0
        lines = []
        for each in found:
            namespace, name = each.key()
            content = _hash(each.document)
            absent = self._records.get(namespace, name) is None
            if said.get(f"{namespace}/{name}") == content and not (missing and absent):
                continue
            with each.named(problems.Problem):
                done = self._put(each.document, namespace=namespace, name=name)
            lines.append(f"{applying.resource(each.document)} {done}")
            said[f"{namespace}/{name}"] = content
            self._remember(said)
        return lines

    def _remember(self, said: Document) -> None:
        try:
            statedir.write_atomically(self._remembered, json.dumps(said, sort_keys=True))
        except OSError as error:
            raise errors.RetryLater(
                f"{self._remembered} cannot be written: {error.strerror}"
            ) from error

    def _put(self, document: Document, *, namespace: str, name: str) -> str:
        live = self._records.get(namespace, name)
        if live is None:
            fresh = admission.new(
                applying.stamped(document), namespace=namespace, check=self._check
            )
            self._records.create(namespace, name, fresh)
            return "created"
        change = applying.patch(document, live)
        if not change:
            return "unchanged"
        self._records.update(
            namespace,
            name,
            lambda now: admission.changed(now, applying.merged(now, change), check=self._check),
        )
        return "configured"


def _listed(place: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(place.iterdir()) if place.is_dir() else [place]
    return []


def _is_folder(path: str) -> bool:
    if path == "-":
        return False
    with _reading(path):
        return stat.S_ISDIR(Path(path).stat().st_mode)


def _texts(path: str, *, folder: bool) -> list[tuple[str, str]]:
    if path == "-":
        with _reading("standard input"):
            return [("standard input", manifest.decoded(sys.stdin.buffer.read()))]
    files = [Path(path)]
    if folder:
        with _reading(path):
            files = sorted(file for file in Path(path).iterdir() if file.suffix in _SUFFIXES)
        if not files:
            raise errors.UsageError(f'the folder "{path}" holds no .yaml, .yml or .json file')
    return [(str(file), _text(file)) for file in files]


def _text(file: Path) -> str:
    with _reading(str(file)):
        return manifest.decoded(file.read_bytes())


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    """Whatever keeps us from reading it is one line that names it and says why."""
    try:
        yield
    except FileNotFoundError as error:
        raise errors.UsageError(f'the path "{what}" does not exist') from error
    except OSError as error:
        raise errors.UsageError(f'"{what}" cannot be read: {error.strerror}') from error
    except UnicodeDecodeError as error:
        raise errors.UsageError(f'"{what}" cannot be read: {error}') from error


def _placed(document: Document, *, namespace: str | None) -> Document:
    metadata = document.get("metadata")
    if namespace is None or not isinstance(metadata, dict):
        return document
    own = metadata.get("namespace")
    if own:
        if own != namespace:
            raise errors.UsageError(
                f'the manifest\'s own namespace is "{own}", not "{namespace}": '
                f"leave out -n, or say -n {own}"
            )
        return document
    return document | {"metadata": metadata | {"namespace": namespace}}


def _faults(document: Document, check: admission.Check | None) -> Sequence[errors.Fault]:
    try:
        parsed = spec.parse_sent(document)
    except errors.SpecInvalidError as error:
        return error.faults
    return check(parsed.spec.template) if check else ()


def _hash(document: Document) -> str:
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
