"""What `ringmaster experiment …` does: simulate, measure, judge, write, say.

Law: shell; each experiment is a list of trials (or one recovery) and its pictures.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ringmaster_experiments import (
    anatomy,
    errors,
    files,
    kill,
    live,
    own,
    pictures,
    progress,
    recovery,
    results,
    rings,
    stacks,
    telling,
    timeline,
    trials,
)

SCALES = range(2, 7)
_SET = "web"
_ANATOMY = ("assignment", "modulo")


@dataclass(frozen=True, slots=True)
class Settings:
    """What all experiments share. Without `url` they start a Ringmaster of their own."""

    out: Path
    seed: int = 1
    simulate: bool = False
    connections: int = 64
    url: str | None = None
    api: str = "http://127.0.0.1:7070"
    serverset: str = "default/web"
    runtime: str = "process"


def distribution(
    settings: Settings, *, ring: str, requests: int, servers: int, say: telling.Say
) -> results.Ran:
    """Experiment 1."""
    plan = [_trial(ring, servers, requests)]
    ran = _run(settings, plan, name="distribution", drawn=["distribution.png"], say=say)
    pictures.distribution(ran.outcomes[0], settings.out / "distribution.png")
    telling.ran(ran, settings.out, say=say)
    return ran


def scaling(settings: Settings, *, ring: str, requests: int, say: telling.Say) -> results.Ran:
    """Experiment 2."""
    plan = [_trial(ring, servers, requests) for servers in SCALES]
    ran = _run(settings, plan, name="scaling", drawn=["scaling.png"], say=say)
    pictures.scaling(ran.outcomes, settings.out / "scaling.png")
    telling.ran(ran, settings.out, say=say)
    return ran


def hashing(
    settings: Settings, *, requests: int, servers: int, scaling_requests: int, say: telling.Say
) -> results.Ran:
    """Experiment 4: 1 and 2 again for every hash function; the first trials are those of 1."""
    plan = [_trial(ring, servers, requests) for ring in rings.VARIANTS]
    plan += [_trial(ring, count, scaling_requests) for ring in rings.VARIANTS for count in SCALES]
    drawn = [f"hashing-{what}.png" for what in ("distribution", "scaling", "slots")]
    ran = _run(settings, plan, name="hashing", drawn=drawn, say=say)
    first, rest = split(ran.outcomes)
    pictures.distributions(first, settings.out / "hashing-distribution.png")
    pictures.scalings(rest, settings.out / "hashing-scaling.png")
    strips = [anatomy.of(rings.VARIANTS[name], servers) for name in _ANATOMY]
    pictures.slots(strips, settings.out / "hashing-slots.png")
    telling.ran(ran, settings.out, say=say)
    return ran


def recover(
    settings: Settings, *, ring: str, requests: int, servers: int, victim: int, say: telling.Say
) -> results.Recovered:
    """Experiment 3: the kill comes after half of the requests."""
    plan = recovery.Plan(
        variant=_variant(ring),
        servers=servers,
        requests=requests,
        kill_at=requests // 2,
        victim=victim,
    )
    drawn = ["recovery-shares.png"]
    if not settings.simulate:
        drawn += ["recovery.png", "recovery.timings.csv"]
    _prepare(settings, name="recovery", more=drawn)
    done = _simulated(settings, plan, say=say) if settings.simulate else _killed(settings, plan)
    files.of_recovery(done, seed=settings.seed, folder=settings.out)
    timeline.shares(done.expected, settings.out / "recovery-shares.png")
    if done.live is not None:
        files.timings_of_recovery(done.expected, done.live, folder=settings.out)
        timeline.timeline(done.expected, done.live, settings.out / "recovery.png")
    telling.recovered(done, settings.out, say=say)
    return done


def split(
    outcomes: Sequence[trials.Outcome],
) -> tuple[list[trials.Outcome], dict[str, list[trials.Outcome]]]:
    """The outcomes of `hashing`: experiment 1 by ring, and experiment 2 by ring."""
    count = len(rings.VARIANTS)
    by_ring: dict[str, list[trials.Outcome]] = {name: [] for name in rings.VARIANTS}
    for outcome in outcomes[count:]:
        by_ring[outcome.trial.variant.name].append(outcome)
    return list(outcomes[:count]), by_ring


def _prepare(settings: Settings, *, name: str, more: Sequence[str]) -> None:
    """See that what an experiment writes can be written."""
    names = [f"{name}.json", f"{name}.csv", *more]
    if not settings.simulate:
        names.append(f"{name}.timings.json")
    files.prepare(settings.out, names)


def _run(
    settings: Settings,
    plan: Sequence[trials.Trial],
    *,
    name: str,
    drawn: Sequence[str],
    say: telling.Say,
) -> results.Ran:
    """Do the trials and write their files; the pictures `drawn` are the caller's."""
    _prepare(settings, name=name, more=drawn)
    if settings.simulate:
        begin = time.monotonic()
        ran = results.Ran(
            tuple(
                trials.run(trial, seed=settings.seed, ids=rings.names(_SET, trial.servers))
                for trial in plan
            )
        )
        say(f"simulated in {time.monotonic() - begin:.2f} s")
    else:
        ran = _measured(settings, plan, name=name)
        files.timings_of_trials(name, ran, folder=settings.out)
    files.of_trials(name, ran.outcomes, seed=settings.seed, folder=settings.out)
    return ran


def _measured(settings: Settings, plan: Sequence[trials.Trial], *, name: str) -> results.Ran:
    """Live; by rising numbers of servers, so that each is started once."""
    runs: dict[int, live.Run] = {}
    order = sorted(enumerate(plan), key=lambda numbered: numbered[1].servers)
    total = sum(trial.requests for trial in plan)
    with (
        _stack(settings, servers=order[0][1].servers, probe=own.LENIENT) as stack,
        progress.shown(total, label=name) as bar,
    ):
        for number, trial in order:
            with bar.part() as part:
                runs[number] = live.run(
                    stack, trial, seed=settings.seed, connections=settings.connections,
                    progress=part,
                )  # fmt: skip
    outcomes = tuple(
        trials.run(trial, seed=settings.seed, ids=runs[number].ids, measured=runs[number].measured)
        for number, trial in enumerate(plan)
    )
    return results.Ran(outcomes, tuple(runs[number].timings for number in range(len(plan))))


def _simulated(settings: Settings, plan: recovery.Plan, *, say: telling.Say) -> results.Recovered:
    begin = time.monotonic()
    expected = recovery.expect(plan, seed=settings.seed, ids=rings.names(_SET, plan.servers))
    say(f"simulated in {time.monotonic() - begin:.2f} s")
    return results.Recovered(expected)


def _killed(settings: Settings, plan: recovery.Plan) -> results.Recovered:
    with (
        _stack(settings, servers=plan.servers, probe=own.STRICT) as stack,
        progress.shown(plan.requests, label="recovery") as bar,
        bar.part() as part,
    ):
        return kill.run(
            stack, plan, seed=settings.seed, connections=settings.connections, progress=part
        )


def _stack(
    settings: Settings, *, servers: int, probe: dict[str, int]
) -> contextlib.AbstractContextManager[stacks.Stack]:
    if settings.url is None:
        return own.started(servers=servers, probe=probe, runtime=settings.runtime)
    return stacks.running(
        settings.url, api=settings.api, serverset=settings.serverset, runtime=settings.runtime
    )


def _trial(ring: str, servers: int, requests: int) -> trials.Trial:
    return trials.Trial(variant=_variant(ring), servers=servers, requests=requests)


def _variant(name: str) -> rings.Variant:
    try:
        return rings.VARIANTS[name]
    except KeyError:
        known = ", ".join(rings.VARIANTS)
        raise errors.UsageError(f"there is no ring {name!r} here: one of {known}") from None
