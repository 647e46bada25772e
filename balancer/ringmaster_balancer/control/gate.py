"""The gate that a function of the user's own must pass before it serves.

Law: shell. A trial runs in processes of their own with a time limit, one whole and two that only
show whether other processes, with other hash seeds, find the same values; one after the other,
since each may take as much memory as a container spares. What was found is kept by content: the
same text is not tried twice. A scheme of the user's own places members in such a process too, and
never in ours. What takes longer than a push can wait goes on, and the push is answered 503: the
operator comes again. Who calls: `keeper`, on its loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeVar

import structlog

from ringmaster_balancer import codes, errors, members
from ringmaster_balancer.control import trial
from ringmaster_balancer.ring import checks, custom, select

_log = structlog.get_logger()

LIMIT_SECONDS = 20.0  # for a whole trial; its CPU time is bounded in `trial`
PATIENCE_SECONDS = 3.0  # of a push: the operator gives up after 5
# An aborted trial, or a missing library, says more about the machine than about the function: it
# is tried again.
_FORGET_SECONDS = 60.0
_VERSION = 2  # of the checks: a new one tries everything again
_SEEDS = ("0", "1", "4711")
_SAID_BYTES = 400
_SERVING = "serving.json"

_PLACEMENTS = 8  # that are remembered: what is held, what is planned, and what was before

T = TypeVar("T")
Order = Mapping[str, Any]
Places = Sequence[tuple[str, int]]
Run = Callable[[Order, str], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial has found about a function on a ring."""

    reference: str
    digest: str
    kind: custom.Kind | None
    golden: tuple[tuple[str, int], ...]
    findings: tuple[checks.Finding, ...]

    @property
    def accepted(self) -> bool:
        """Whether it may serve."""
        return self.kind is not None and all(finding.good for finding in self.findings)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, in words with numbers: each check once, with its first kind of keys."""
        failed: dict[str, list[checks.Finding]] = {}
        for finding in self.findings:
            if not finding.good:
                failed.setdefault(finding.check, []).append(finding)
        return tuple(f"{check}: {_summed(found)}" for check, found in failed.items())

    def to_document(self) -> dict[str, Any]:
        """As JSON takes it; the golden values are left out."""
        return {
            "hash": self.reference,
            "digest": self.digest,
            "kind": self.kind.value if self.kind else None,
            "accepted": self.accepted,
            "findings": [finding.to_document() for finding in self.findings],
        }


def _summed(found: Sequence[checks.Finding]) -> str:
    first, *rest = found
    about = f"{first.about}: " if first.about else ""
    others = dict.fromkeys(each.about or each.words for each in rest)
    others.pop(first.about or first.words, None)
    return f"{about}{first.words}" + (f" (also {', '.join(others)})" if others else "")


class HashRefused(errors.RingInvalid):
    """A function that did not pass; the ring that is held stays."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(
            f"{verdict.reference} did not pass the gate: {'; '.join(verdict.faults)}",
            path="ring.hash",
        )
        self.verdict = verdict


class OnTrial(errors.BalancerError):
    """The trial, or the placing, is still going on: push again (503)."""


class Gate:
    """Tries functions and remembers the verdicts in `cache`, a folder of small files."""

    def __init__(
        self,
        *,
        allowed: codes.Allowed,
        cache: Path,
        run: Run | None = None,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allowed = allowed
        self._cache = cache
        self._run = run or _in_process
        self._patience = patience
        self._clock = clock
        self._trials: dict[str, asyncio.Task[Verdict]] = {}
        self._aborted: dict[str, tuple[float, Verdict]] = {}
        self._placing: dict[str, asyncio.Task[list[int]]] = {}
        self._placed: dict[str, list[int]] = {}

    async def admit(self, ring: members.Ring) -> custom.Custom | None:
        """The ring's own function, loaded and passed; None if the ring has none.

        Raises:
            HashRefused: it did not pass.
            OnTrial: it is not known yet.
        """
        if custom.parts(ring.hash) is None or ring.scheme == "ketama":
            return None
        try:
            source, digest = await asyncio.to_thread(codes.find, ring.hash, self._allowed)
        except codes.CodeError as error:
            finding = checks.Finding(check="load", good=False, words=str(error))
            raise HashRefused(Verdict(ring.hash, "", None, (), (finding,))) from error
        verdict = await self._verdict(ring, source=source, digest=digest)
        if not verdict.accepted or verdict.kind is None:
            raise HashRefused(verdict)
        code = custom.Code(
            reference=ring.hash,
            source=source,
            digest=digest,
            kind=verdict.kind,
            golden=() if verdict.kind is custom.Kind.FILL else verdict.golden,
        )
        return await asyncio.to_thread(codes.load, code)

    async def restored(self, ring: members.Ring) -> custom.Custom | None:
        """What served under this name when the ring was last taken; else as `admit`.

        A file that was changed since, or has gone, must not end a ring by a mere restart.
        """
        code = await asyncio.to_thread(self._kept, ring.hash)
        return await asyncio.to_thread(codes.load, code) if code else await self.admit(ring)

    async def placed(
        self, own: custom.Custom | None, ring: members.Ring, places: Places
    ) -> custom.Custom | None:
        """A scheme of the user's own with the owners that it gives these members; else `own`.

        The function runs in a process of its own: what is returned only repeats its answer.

        Raises:
            HashRefused: it cannot place them, or not in time.
            OnTrial: it is still at it.
        """
        if own is None or own.code.kind is not custom.Kind.FILL or not places:
            return own
        order: Order = {
            "reference": own.code.reference,
            "source": own.code.source,
            "scheme": ring.scheme,
            "slots": select.slots(ring),
            "members": sorted(places),
            "cpuSeconds": trial.CPU_SECONDS,
        }
        key = hashlib.sha256(json.dumps([own.code.digest, order]).encode()).hexdigest()
        owners = self._placed.get(key)
        if owners is None:
            owners = await self._in_time(
                self._placing,
                key,
                lambda: self._place(key, order, digest=own.code.digest),
                words=f"{own.code.reference} is placing {len(places)} members",
            )
        return replace(own, function=_repeats(order["members"], owners))

    async def _place(self, key: str, order: Order, *, digest: str) -> list[int]:
        result = await self._run(order, _SEEDS[0])
        if "owners" not in result:
            findings = tuple(checks.Finding(**each) for each in result["findings"])
            raise HashRefused(Verdict(order["reference"], digest, None, (), findings))
        while len(self._placed) >= _PLACEMENTS:
            del self._placed[next(iter(self._placed))]
        owners: list[int] = result["owners"]
        self._placed[key] = owners
        return owners

    def keep(self, own: custom.Custom | None) -> None:
        """Remember what serves now."""
        if own is not None:
            self._write(_SERVING, own.code.to_document())

    def _kept(self, reference: str) -> custom.Code | None:
        try:
            document = json.loads((self._cache / _SERVING).read_text())
            code = custom.Code.from_document(document)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return code if code.reference == reference else None

    async def _verdict(self, ring: members.Ring, *, source: str | None, digest: str) -> Verdict:
        slots = select.slots(ring)
        key = _key(ring, digest=digest, slots=slots)
        if (known := self._known(key)) is not None:
            return known
        order: Order = {
            "reference": ring.hash,
            "source": source,
            "scheme": ring.scheme,
            "slots": slots,
            "cpuSeconds": trial.CPU_SECONDS,
        }
        return await self._in_time(
            self._trials,
            key,
            lambda: self._try(key, order, digest=digest),
            words=f"{ring.hash} is being tried, which takes a few seconds",
        )

    async def _in_time(
        self,
        tasks: dict[str, asyncio.Task[T]],
        key: str,
        begin: Callable[[], Coroutine[Any, Any, T]],
        *,
        words: str,
    ) -> T:
        """The end of the one task of this key, as long as a push can wait."""
        task = tasks.get(key)
        if task is None:
            task = tasks[key] = asyncio.create_task(begin())
            task.add_done_callback(lambda _: tasks.pop(key, None))
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._patience)
        except TimeoutError:
            task.add_done_callback(_heard)
            raise OnTrial(words) from None

    async def _try(self, key: str, order: Order, *, digest: str) -> Verdict:
        started = self._clock()
        results: list[dict[str, Any]] = []
        for seed in _SEEDS:
            results.append(await self._run({**order, "whole": seed == _SEEDS[0]}, seed))
            if results[-1].get("aborted"):
                break
        verdict = _judged(order["reference"], digest, results)
        passing = verdict.kind is None or any(result.get("aborted") for result in results)
        if passing:
            self._aborted[key] = (self._clock() + _FORGET_SECONDS, verdict)
        else:
            await asyncio.to_thread(self._remember, key, verdict)
        _log.info(
            "hash tried",
            hash=verdict.reference,
            accepted=verdict.accepted,
            seconds=round(self._clock() - started, 2),
            faults="; ".join(verdict.faults),
        )
        return verdict

    def _known(self, key: str) -> Verdict | None:
        until, verdict = self._aborted.get(key, (0.0, None))
        if verdict is not None and self._clock() < until:
            return verdict
        try:
            return _verdict_of(json.loads((self._cache / f"{key}.json").read_text()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _remember(self, key: str, verdict: Verdict) -> None:
        document = verdict.to_document()
        document["golden"] = [[known, str(value)] for known, value in verdict.golden]
        self._write(f"{key}.json", document)

    def _write(self, name: str, document: dict[str, Any]) -> None:
        draft = self._cache / f"{name}.new"
        with contextlib.suppress(OSError):  # without it, it is tried again after a restart
            self._cache.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(document))
            draft.replace(self._cache / name)


def _heard(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more: the next push meets the same end, asyncio need not warn."""
    if not task.cancelled():
        task.exception()


def _repeats(placed: Places, owners: Sequence[int]) -> custom.Fill:
    """The answer that was given for these members, and none for others."""

    def fill(asked: Places, slots: int) -> Sequence[int]:
        if list(asked) != list(placed) or slots != len(owners):
            raise ValueError("other members than those that were placed")
        return owners

    return fill


def _key(ring: members.Ring, *, digest: str, slots: int) -> str:
    """What a verdict depends on."""
    python = ".".join(map(str, sys.version_info[:2]))
    parts = (str(_VERSION), python, digest, ring.hash, ring.scheme, str(slots))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _judged(reference: str, digest: str, results: Sequence[dict[str, Any]]) -> Verdict:
    """All processes' results as one verdict: the first's findings, and whether the rest agrees."""
    whole, *others = results
    findings = [checks.Finding(**each) for each in whole["findings"]]
    broken = next((each for each in others if each["kind"] is None), None)
    golden = tuple((str(key), int(value)) for key, value in whole["golden"])
    kind = custom.Kind(whole["kind"]) if whole["kind"] else None
    if kind is not None and broken is not None:
        findings += [checks.Finding(**each) for each in broken["findings"]]
    elif kind is not None and golden:
        said = next(
            filter(None, (checks.differing(golden, _pairs(each["golden"])) for each in others)), ""
        )
        findings.append(
            checks.Finding(
                check="processes",
                good=not said,
                words=said or f"the same in {len(results)} processes of different hash seeds",
            )
        )
    return Verdict(reference, digest, kind, golden, tuple(findings))


def _pairs(golden: Sequence[Sequence[Any]]) -> list[tuple[str, int]]:
    return [(str(key), int(value)) for key, value in golden]


def _verdict_of(document: Mapping[str, Any]) -> Verdict:
    return Verdict(
        reference=document["hash"],
        digest=document["digest"],
        kind=custom.Kind(document["kind"]) if document["kind"] else None,
        golden=tuple(_pairs(document["golden"])),
        findings=tuple(checks.Finding(**each) for each in document["findings"]),
    )


async def _in_process(order: Order, seed: str) -> dict[str, Any]:
    """Run one trial; its result, or a finding that says how it ended."""
    try:
        return await _tried(order, seed)
    except OSError as error:  # the folder for temporary files is gone, or there is no room
        return _aborted(f"it cannot be tried here: {error.strerror}")


async def _tried(order: Order, seed: str) -> dict[str, Any]:
    # Files and no pipes: the trial bounds them, and what it has started cannot hold them open.
    with tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as out, \
            tempfile.TemporaryFile() as said:  # fmt: skip
        asked.write(json.dumps(dict(order)).encode())
        asked.seek(0)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-B",
            "-m",
            "ringmaster_balancer.control.trial",
            stdin=asked,
            stdout=out,
            stderr=said,
            env={**_environment(), "PYTHONHASHSEED": seed},
            start_new_session=True,
        )
        try:
            await asyncio.wait_for(process.wait(), LIMIT_SECONDS)
        except TimeoutError:
            return _aborted(f"it was not done after {LIMIT_SECONDS:g} s")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it has started
            await process.wait()
        try:
            result: dict[str, Any] = json.loads(_end_of(out, trial.FILE_BYTES))
        except ValueError:
            return _ended(process.returncode, _end_of(said, _SAID_BYTES))
        return result


def _end_of(file: IO[bytes], most: int) -> bytes:
    """Its last bytes. The trial shares the file's position with us: it is set, not believed."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - most))
    return file.read(most)


def _environment() -> dict[str, str]:
    """No secret of ours is the function's business."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _ended(code: int | None, said: bytes) -> dict[str, Any]:
    if code is not None and -code in (signal.SIGXCPU, signal.SIGKILL):
        return _aborted(f"it used more than {trial.CPU_SECONDS} s of CPU time, or was killed")
    last = said.decode(errors="replace").strip().splitlines()[-1:]
    return _aborted(f"its process ended with code {code}" + (f": {last[0]}" if last else ""))


def _aborted(words: str) -> dict[str, Any]:
    finding = checks.Finding(check="time", good=False, words=words)
    return {"kind": None, "golden": [], "findings": [finding.to_document()], "aborted": True}
