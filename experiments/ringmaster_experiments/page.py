"""The performance analysis as a page: what was found, in Markdown, every figure from the results.

Law: pure; results in, text out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ringmaster_experiments import anatomy, chance, draws, recovery, results, rings, trials


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that the page tells. `docker` is empty where there was no engine."""

    seed: int
    connections: int
    machine: str
    distribution: results.Ran
    scaling: results.Ran
    recovery: results.Recovered
    hashing: Sequence[trials.Outcome]
    hashing_scaling: Mapping[str, Sequence[trials.Outcome]]
    docker: tuple[results.Ran, results.Recovered] | None = None


def text(found: Findings, *, pictures: str) -> str:
    """The page; `pictures` is the folder of results, relative to it."""
    sections = (
        _head(found),
        _distribution(found.distribution.outcomes[0], pictures),
        _scaling(found.scaling.outcomes, pictures),
        _recovery(found.recovery, pictures),
        _hashing(found, pictures),
        _anatomy(found, pictures),
        _docker(found, pictures),
        _replay(pictures),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(found: Findings) -> str:
    verdicts = [
        *found.distribution.verdicts, *found.scaling.verdicts, *found.recovery.verdicts,
        *(v for o in found.hashing for v in o.verdicts),
        *(v for many in found.hashing_scaling.values() for o in many for v in o.verdicts),
        *(v for part in found.docker or () for v in part.verdicts),
    ]  # fmt: skip
    broken = [verdict for verdict in verdicts if not verdict.holds]
    agreement = (
        f"All {len(verdicts)} verdicts of this run hold."
        if not broken
        else f"{len(broken)} of {len(verdicts)} verdicts of this run do not hold: "
        + "; ".join(f"{verdict.promise} ({verdict.detail})" for verdict in broken)
    )
    return f"""# Performance analysis

The four experiments of the assignment, each computed from the ring's table and then done for real. Written by `make experiments`: every figure below is from that run, on {found.machine}. Speeds are this machine's, where load, balancer and servers share the cores; who answers what is the same everywhere.

A request's key is its `X-Request-Id`, a decimal number of six digits ({draws.LOWEST:,} to {draws.HIGHEST:,}) drawn from a seed, here {found.seed}. The live runs send the very keys of the simulation, {found.connections} at a time over keep-alive connections, and retry nothing. So the two are held against each other in two ways:

- **simulation and theory**: Pearson's chi-square test of the simulated counts against the table's exact shares; they agree if p ≥ {chance.THRESHOLD}.
- **live run and simulation**: with the same keys nothing is left to chance. Every single request must be answered by the member that the table names for it; one that is not, or that fails, is a disagreement.

{agreement}"""


def _distribution(outcome: trials.Outcome, pictures: str) -> str:
    trial, spread = outcome.trial, outcome.spread
    rows = [
        (member, _percent(share), f"{share * trial.requests:,.1f}", f"{simulated:,}", f"{live:,}")
        for member, share, simulated, live in zip(
            outcome.ids, outcome.shares, outcome.simulated, outcome.counts, strict=True
        )
    ]
    header = ("server", "share in theory", "expected requests", "simulated", "live")
    return f"""## 1. {trial.requests:,} requests on {trial.servers} servers

![Requests per server]({pictures}/distribution.png)

{_table(header, rows)}

The ring is the default, {trial.variant.title.split(" (")[0]}. The busiest server has {spread.peak:.3f} times the mean, the standard deviation is {spread.deviation:.0f} requests ({100 * spread.deviation / spread.mean:.1f} % of the mean). {outcome.verdicts[0].detail.capitalize()}."""


def _scaling(outcomes: Sequence[trials.Outcome], pictures: str) -> str:
    rows = []
    for outcome in outcomes:
        spread = outcome.spread
        rows.append(
            (
                str(outcome.trial.servers),
                f"{spread.mean:,.1f}",
                f"{spread.smallest:,}",
                f"{spread.largest:,}",
                f"{spread.deviation:.1f}",
                f"{spread.peak:.3f}",
                f"{max(outcome.shares) * len(outcome.shares):.3f}",
            )
        )
    header = (
        "servers", "mean", "least", "most", "standard deviation", "most / mean", "in theory",
    )  # fmt: skip
    return f"""## 2. {outcomes[0].trial.requests:,} requests on 2 to 6 servers

![Load over the number of servers]({pictures}/scaling.png)

{_table(header, rows)}

The mean load is requests ÷ servers for any router, also for one that sends everything to one server: it says nothing. The spread does. The dotted lines are the table's own unevenness (√((N−1)/65,536) of the mean, in standard deviation); what lies beyond is the luck of {outcomes[0].trial.requests:,} draws, which a longer run evens out."""


def _recovery(done: results.Recovered, pictures: str) -> str:
    plan, expected = done.expected.plan, done.expected
    simulated = f"""## 3. A server is killed under {plan.requests:,} requests

`kill -9` of {expected.victim}'s server when request {plan.kill_at:,} is sent. The simulation cannot know how long the replacement takes, but it names who may answer: the key's owner or, for the victim's keys while it is away, the next candidate in the table. The live run must lie between the two bounds, request by request.

![Who would answer]({pictures}/recovery-shares.png)"""
    if done.live is None:
        return simulated
    return f"""{simulated}

![What happened]({pictures}/recovery.png)

{_told(expected, done.live)}"""


def _told(expected: recovery.Expected, run: results.Live) -> str:
    rows = [
        (event.name, event.what, "not seen" if event.seconds is None else f"{event.seconds:.3f} s")
        for event in run.seen.events
    ]
    stood_in = recovery.stood_in(expected, run.seen)
    foreign = recovery.foreign(expected, run.seen)
    others = f"{foreign:,} other requests met another member" if foreign else "no other key moved"
    timings = run.timings
    return f"""{_table(("step", "what was seen", "after the kill"), rows)}

Failed requests: **{run.failed} of {len(expected.owners):,}**. {stood_in - foreign:,} requests of the dead server's keys were answered by the next candidates until its successor took its place; {others}. {timings.rate:,.0f} requests a second, latency {timings.median:.0f} ms in the median, {timings.p99:.0f} ms at the 99th percentile, {timings.largest:.0f} ms at most. The operator's API was asked every 10 ms, so what it said is known to about that."""


def _hashing(found: Findings, pictures: str) -> str:
    header = (
        "ring", "theory: share of each of 3 servers", "live", "most / mean",
        *(f"{outcome.trial.servers}" for outcome in next(iter(found.hashing_scaling.values()))),
    )  # fmt: skip
    rows = [
        (
            outcome.trial.variant.title,
            " / ".join(_percent(share) for share in outcome.shares),
            " / ".join(f"{count:,}" for count in outcome.counts),
            f"{outcome.spread.peak:.3f}",
            *(
                f"{each.spread.peak:.2f}"
                for each in found.hashing_scaling[outcome.trial.variant.name]
            ),
        )
        for outcome in found.hashing
    ]
    trial = found.hashing[0].trial
    return f"""## 4. Other hash functions

Experiments 1 and 2 again, on the same keys, for the assignment's functions (H(i) = i² + 2i + 17 places a request, Φ(i, j) = i² + j² + 2j + 25 virtual server j of server i, both modulo 512), for a changed H, and for good rings.

![Requests per server by hash function]({pictures}/hashing-distribution.png)

![Load over the number of servers by hash function]({pictures}/hashing-scaling.png)

{_table(header, rows)}

*live* are the requests per server of {trial.requests:,}; the columns 2 to 6 are most / mean of {next(iter(found.hashing_scaling.values()))[0].trial.requests:,} requests on so many servers."""


def _anatomy(found: Findings, pictures: str) -> str:
    three, plain = (anatomy.of(rings.VARIANTS[name], 3) for name in ("assignment", "modulo"))
    six = anatomy.of(rings.VARIANTS["assignment"], 6)
    strong = anatomy.of(rings.VARIANTS["xxh64"], 3)
    slots, reached = three.slots, len(three.reached)
    even = [each for each in found.hashing if each.trial.variant.ring["scheme"] != "classic"]
    return f"""### Why the assignment's functions cannot be even

![The classic ring with three servers]({pictures}/hashing-slots.png)

**Φ crowds the servers together.** For one server i the nine points are i² + 25 + (0, 3, 8, 15, … 80): a stretch of 81 slots that begins at i² + 25. The squares of 1, 2, 3 differ by little, so all 27 points of three servers lie in slots {three.lowest} to {three.highest}, those of six in {six.lowest} to {six.highest}. The {three.gap} slots outside have no point; whoever lands there goes clockwise to the first one, slot {three.lowest}, which is server 1's. It owns {three.owned[0]} of {slots} slots, the others {" and ".join(map(str, three.owned[1:]))}.

**H meets few slots.** i² + 2i + 17 = (i + 1)² + 16, and there are only {reached} squares modulo {slots}: {reached} of {slots} slots are ever met, {slots - reached} never. Over a period of {slots} request ids the shares are exact:

{_table(("servers", "exact shares, %"), [("3", _exact(three)), ("6", _exact(six))])}

No number of requests evens this out: these are the limits themselves.

### Why `i % 512` does not help

It cures the half that does no harm. All {len(plain.reached)} slots are met then, but the virtual servers stay where Φ puts them, so a server's share is what it owns: {_exact(plain)} %. Server 1 then has {plain.owned[0]}/{slots} = {_percent(plain.shares[0])} instead of {_percent(three.shares[0])}: H's {reached} squares meet the crowded stretch in another proportion than all slots do. A strong hash of the key (xxh64) gives {"the same again" if strong.shares == plain.shares else f"{_exact(strong)} %"}. What must change is where the *servers* are: ketama spreads 160 points of each over 2³² places, maglev and hrw give every slot an owner by a hash of its own, and in this run the busiest of {even[0].trial.servers} servers had {max(each.spread.peak for each in even):.3f} times the mean at most."""


def _docker(found: Findings, pictures: str) -> str:
    if found.docker is None:
        return ""
    ran, done = found.docker
    outcome = ran.outcomes[0]
    counts = ", ".join(
        f"{member} {count:,}" for member, count in zip(outcome.ids, outcome.counts, strict=True)
    )
    live = "" if done.live is None else _told(done.expected, done.live)
    same = outcome.live_digest == found.distribution.outcomes[0].live_digest
    agreement = "each answered by the very member that answered it as a process" if same else ""
    return f"""## Experiments 1 and 3 on Docker

The same keys, with the servers as containers of a Docker Engine (operator and balancer beside them as processes): {counts} of {outcome.trial.requests:,} requests, {agreement or "which the processes answered otherwise"}. Then `docker kill` of {done.expected.victim}'s container under {done.expected.plan.requests:,} requests; times count from the command's start, so its own work is a part of them:

![What happened on Docker]({pictures}/docker/recovery.png)

{live}"""


def _replay(pictures: str) -> str:
    return f"""## Do it again

```
make experiments                                      # all of this page
ringmaster experiment distribution --simulate         # 1, computed only
ringmaster experiment scaling --ring assignment       # 2, on a Ringmaster of its own
ringmaster experiment recovery --url http://localhost:5000   # 3, on one that runs
ringmaster experiment hashing --seed 7 --out results  # 4, other keys
```

The results are in [{pictures}/]({pictures}/) as JSON and CSV. With the same seed a second run writes the same `*.json`, `*.csv` and pictures of 1, 2 and 4, byte for byte, live runs included: the keys come from the seed, and which member answers is the table's doing (the names of the servers, which are random, are left out). What cannot be replayed is kept apart in `*.timings.json`, `*.timings.csv` and `recovery.png`. Exit code 0 means that all agrees, 1 that something does not or a request failed."""


def _exact(ring: anatomy.Anatomy) -> str:
    """Shares in percent with all their digits: they are parts of 512."""
    return " / ".join(f"{100 * share:.5f}".rstrip("0").rstrip(".") for share in ring.shares)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
