"""Requests that can be drawn again."""

from __future__ import annotations

from ringmaster_experiments import draws


def test_the_same_seed_draws_the_same_keys_on_every_machine_and_version():
    assert draws.keys(1, servers=3, count=4) == [b"438953", b"107529", b"621484", b"330921"]


def test_another_seed_or_number_of_servers_draws_others():
    one = draws.keys(1, servers=3, count=100)
    assert one != draws.keys(2, servers=3, count=100)
    assert one != draws.keys(1, servers=4, count=100)


def test_keys_are_request_ids_of_six_digits():
    found = draws.keys(3, servers=2, count=20_000)
    assert all(key.isdigit() and len(key) == 6 and key[:1] != b"0" for key in found)
    assert len(set(found)) > 19_500
