from __future__ import annotations

from typing import Any

import planning
import pytest
from planning import NOW
from ringmaster_operator import memory, observed
from ringmaster_operator.plan import draft, world


def drafted(
    *replicas: observed.Replica, places: dict[int, memory.Place] | None = None, **fields: Any
) -> draft.Draft:
    before = memory.Memory(places=places or {})
    seen = observed.Observed(at=NOW, replicas=replicas)
    made = draft.Draft(world.look(planning.server_set(**fields), seen, before, NOW), before)
    made.target = planning.V1
    return made


SEEN = memory.Place(attempt=3, due=False, seen=True)


def test_a_new_attempt_begins_only_after_the_last_one_was_seen() -> None:
    made = drafted(places={0: SEEN, 1: memory.Place(attempt=3, tried_at=NOW)})
    made.renew(0, observed.Reason.EMERGENCY)
    made.renew(1, observed.Reason.EMERGENCY)
    assert [made.places[o].attempt for o in (0, 1)] == [4, 3]
    # What may exist keeps the reason, which is part of its name.
    assert made.places[1].reason is observed.Reason.SCALE_UP


def test_the_name_asked_for_goes_with_the_attempt_that_it_was_given_to() -> None:
    made = drafted(places={0: memory.Place(name="S5", seen=True, due=False)})
    assert made.name(0) == "S5"
    made.renew(0, observed.Reason.EMERGENCY)
    assert made.name(0).startswith("emergency-web-0-")


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (7, 32), (8, 60), (999, 60)]
)
def test_the_backoff_doubles_from_the_second_failure_on(failures: int, seconds: float) -> None:
    assert draft.backoff(failures) == seconds


def test_there_is_room_for_the_surge_and_not_for_one_more() -> None:
    three = [planning.replica(ordinal) for ordinal in range(3)]
    places = dict.fromkeys(range(3), SEEN)
    made = drafted(*three, places=places)
    assert made.room() == 1
    made.beside[0] = "why"
    assert made.room() == 0


def test_an_empty_place_has_its_room_reserved() -> None:
    made = drafted(planning.replica(0), places={0: SEEN, 1: SEEN, 2: SEEN})
    assert made.room() == 1


def test_what_may_exist_unseen_takes_room() -> None:
    tried = memory.Place(attempt=2, tried_at=NOW - 5)
    made = drafted(planning.replica(0), places={0: tried, 1: SEEN, 2: SEEN})
    assert made.phantom(0)
    assert made.room() == 0


def test_an_abandoned_create_is_forgotten_in_the_end() -> None:
    abandoned = memory.Place(attempt=2, tried_at=NOW - 10, due=False)
    assert not drafted(places={0: abandoned}).phantom(0)


def test_replicas_of_closed_places_take_no_room() -> None:
    closed = memory.Place(wanted=False, due=False, seen=True)
    made = drafted(planning.replica(7), places={0: SEEN, 1: SEEN, 2: SEEN, 7: closed})
    assert made.room() == 1


def test_a_failure_is_counted_noted_and_paused_for() -> None:
    made = drafted(places={0: SEEN})
    made.fail(0, observed.Reason.EMERGENCY, "exited")
    made.change(0, seen=True)
    made.fail(0, observed.Reason.EMERGENCY, "exited")
    assert (made.places[0].failures, made.places[0].not_before) == (2, NOW + 1)
    assert [note.message for note in made.notes] == ["web-0: exited"] * 2


def test_the_first_cause_of_leaving_stays() -> None:
    made, leaving = drafted(), planning.replica(0)
    made.leave(leaving, "first")
    made.leave(leaving, "second")
    assert made.leaving == {leaving.uid: "first"}
