"""Pictures of a recovery."""

from __future__ import annotations

from array import array

from ringmaster_experiments import recovery, results, rings, timeline, trials

IDS = rings.names("web", 3)
EXPECTED = recovery.expect(
    recovery.Plan(rings.VARIANTS["hrw"], servers=3, requests=2_000, kill_at=1_000, victim=1),
    seed=1,
    ids=IDS,
)


def run(seconds):
    seen = recovery.Seen(
        measured=trials.Measured(array("i", EXPECTED.owners)),
        sent=[(number - 1_000) / 500 for number in range(2_000)],
        took=[0.004] * 2_000,
        events=(recovery.Event("detected", "seen", 0.1), recovery.Event("back", "it is", seconds)),
        healed=True,
    )
    return results.Live(seen, results.Timings(4, 500, 4, 4, 4))


def test_the_simulation_and_the_run_are_drawn_the_same_each_time(tmp_path):
    for number in range(2):
        timeline.shares(EXPECTED, tmp_path / f"shares-{number}.png")
        timeline.timeline(EXPECTED, run(0.7), tmp_path / f"run-{number}.png")
    for name in ("shares", "run"):
        first = (tmp_path / f"{name}-0.png").read_bytes()
        assert first == (tmp_path / f"{name}-1.png").read_bytes()
        assert first.startswith(b"\x89PNG")


def test_a_run_that_did_not_heal_is_drawn_too(tmp_path):
    timeline.timeline(EXPECTED, run(None), tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000
