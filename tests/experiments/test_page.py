"""The page says what was found."""

from __future__ import annotations

import dataclasses
import functools
import re
from array import array

from ringmaster_experiments import page, recovery, results, rings, trials

IDS = rings.names("web", 3)


@functools.cache
def outcome(name, servers, *, live=True):
    trial = trials.Trial(rings.VARIANTS[name], servers, 3_000)
    ids = rings.names("web", servers)
    measured = None
    if live:
        keys = trials.draws.keys(1, servers=servers, count=3_000)
        ring = rings.compiled(trial.variant, ids)
        measured = trials.Measured(array("i", rings.owners(ring, ids, keys)))
    return trials.run(trial, seed=1, ids=ids, measured=measured)


def recovered(*, failures=None):
    plan = recovery.Plan(rings.VARIANTS["hrw"], servers=3, requests=900, kill_at=450, victim=1)
    expected = recovery.expect(plan, seed=1, ids=IDS)
    seen = recovery.Seen(
        measured=trials.Measured(array("i", expected.owners), failures=failures or {}),
        sent=[0.0] * 900,
        took=[0.001] * 900,
        events=(recovery.Event("back", "it answers", 0.625),),
        healed=True,
    )
    return results.Recovered(expected, results.Live(seen, results.Timings(1, 900, 1, 2, 3)))


def findings(**changes):
    one = results.Ran((outcome("hrw", 3),))
    return page.Findings(
        **{
            "seed": 1,
            "connections": 64,
            "machine": "a machine in words",
            "distribution": one,
            "scaling": results.Ran(tuple(outcome("hrw", servers) for servers in range(2, 7))),
            "recovery": recovered(),
            "hashing": [outcome(name, 3) for name in rings.VARIANTS],
            "hashing_scaling": {
                name: [outcome(name, servers) for servers in range(2, 7)] for name in rings.VARIANTS
            },
            "docker": None,
        }
        | changes
    )


def test_it_explains_the_assignments_ring_with_exact_numbers():
    said = page.text(findings(), pictures="performance")
    for words in (
        "84.375 / 4.6875 / 10.9375",
        "78.90625 / 3.125 / 9.375 / 3.125 / 4.6875 / 0.78125",
        "87 of 512 slots are ever met, 425 never",
        "slots 26 to 114",
        "457/512 = 89.26 % instead of 84.38 %",
    ):
        assert words in said


def test_every_verdict_is_counted_and_a_broken_one_is_named():
    assert re.search(r"All \d+ verdicts of this run hold\.", page.text(findings(), pictures="p"))
    broken = page.text(findings(recovery=recovered(failures={"status 502": 2})), pictures="p")
    assert "of this run do not hold: no request failed (2 × status 502)" in broken
    assert "**2 of 900**" in broken


def test_pictures_are_linked_in_their_folder():
    said = page.text(
        findings(docker=(results.Ran((outcome("hrw", 3),)), recovered())), pictures="p"
    )
    links = re.findall(r"!\[[^]]+\]\(([^)]+)\)", said)
    assert sorted(links) == [
        "p/distribution.png", "p/docker/recovery.png", "p/hashing-distribution.png",
        "p/hashing-scaling.png", "p/hashing-slots.png", "p/recovery-shares.png", "p/recovery.png",
        "p/scaling.png",
    ]  # fmt: skip


def test_tables_have_as_many_cells_as_headings():
    rows = []
    for line in [*page.text(findings(), pictures="p").splitlines(), ""]:
        if line.startswith("|"):
            rows.append(line.count("|"))
        else:
            assert len(set(rows)) <= 1
            rows = []


def test_keys_that_met_another_member_are_told_and_not_denied():
    assert "no other key moved" in page.text(findings(), pictures="p")
    done = recovered()
    answers = array("i", done.expected.owners)
    strayed = next(n for n, owner in enumerate(answers) if owner == 0)
    answers[strayed] = 2
    seen = dataclasses.replace(done.live.seen, measured=trials.Measured(answers))
    strange = results.Recovered(done.expected, dataclasses.replace(done.live, seen=seen))
    said = page.text(findings(recovery=strange), pictures="p")
    assert "no other key moved" not in said
    assert "0 requests of the dead server's keys" in said
    assert "1 other requests met another member" in said


def test_what_good_rings_do_is_measured():
    peaks = [outcome(name, 3).spread.peak for name in ("ketama", "maglev", "hrw")]
    said = page.text(findings(), pictures="p")
    assert f"the busiest of 3 servers had {max(peaks):.3f} times the mean at most" in said
    assert "(xxh64) gives the same again" in said
