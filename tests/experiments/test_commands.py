"""What the commands do, as far as nothing need run; live: `test_live`, `test_own`."""

from __future__ import annotations

import pytest
from ringmaster_experiments import commands, errors, rings


@pytest.fixture
def settings(tmp_path):
    return commands.Settings(out=tmp_path, simulate=True)


def test_hashing_is_experiments_one_and_two_for_every_ring(settings):
    said = []
    ran = commands.hashing(settings, requests=900, servers=3, scaling_requests=600, say=said.append)
    first, rest = commands.split(ran.outcomes)
    assert [outcome.trial.variant.name for outcome in first] == list(rings.VARIANTS)
    assert {outcome.trial.servers for outcome in first} == {3}
    for name, outcomes in rest.items():
        assert {outcome.trial.variant.name for outcome in outcomes} == {name}
        assert [outcome.trial.servers for outcome in outcomes] == list(commands.SCALES)
    assert "agrees  the simulation is a fair draw from the table's shares (36 times)" in said


def test_hash_functions_are_compared_on_the_same_requests(settings):
    one = commands.distribution(
        settings, ring="modulo", requests=900, servers=3, say=lambda _: None
    )
    four = commands.hashing(
        settings, requests=900, servers=3, scaling_requests=50, say=lambda _: None
    )
    (same,) = [o for o in four.outcomes[:6] if o.trial.variant.name == "modulo"]
    assert one.outcomes == (same,)


def test_a_ring_that_there_is_not_is_named(settings):
    with pytest.raises(errors.UsageError, match="no ring 'crc' here: one of assignment, modulo"):
        commands.scaling(settings, ring="crc", requests=1, say=print)


def test_a_simulated_recovery_is_judged_as_a_draw_from_the_shares(settings):
    said = []
    done = commands.recover(
        settings, ring="hrw", requests=1_000, servers=3, victim=2, say=said.append
    )
    assert done.live is None
    (verdict,) = done.verdicts
    assert verdict.holds
    assert verdict.promise == "the simulation is a fair draw from the table's shares"
    assert any(line.startswith(f"agrees  {verdict.promise}: chi-square") for line in said)
    assert done.expected.victim == "web-2"
    assert not (settings.out / "recovery.png").exists()
