from __future__ import annotations

import planning
from ringmaster_operator.plan import actions


def test_an_action_reads_as_one_line_with_its_cause() -> None:
    replica = planning.replica(0, name="web-0-abcde")
    said = [
        str(action)
        for action in (
            actions.Drain(replica, "2 wanted"),
            actions.CancelDrain(replica, "is wanted again"),
            actions.Remove(replica, 30.0, "2 wanted"),
            actions.Wait("web-0", "backoff after 2 failures"),
        )
    ]
    assert said == [
        "drain web-0-abcde: 2 wanted",
        "keep web-0-abcde: is wanted again",
        "remove web-0-abcde: 2 wanted",
        "wait web-0: backoff after 2 failures",
    ]
