from __future__ import annotations

import planning
import simulation
from ringmaster_operator import acceptance, memory

DOCUMENT = simulation.document(3, drainSeconds=7, names=["S5"], scaleDown={"victims": ["S4"]})
DOCUMENT["metadata"] |= {"uid": "u", "namespace": "default", "generation": 9}
TEMPLATE = memory.Revision(hash=planning.V1, number=1, template=simulation.template("v1"))
GOOD = memory.Memory(accepted=acceptance.of(DOCUMENT), revisions=(TEMPLATE,))


def test_what_was_accepted_comes_back_under_the_metadata_of_now() -> None:
    wrong = {**DOCUMENT, "spec": {"replicas": -1}}
    wrong["metadata"] = {**DOCUMENT["metadata"], "generation": 10}
    back = acceptance.restored(wrong, memory.Memory.from_json(GOOD.to_json()))
    assert back is not None
    assert (back.spec.replicas, back.spec.drain_seconds, back.metadata.generation) == (3, 7, 10)
    assert back.spec.template == simulation.template("v1")


def test_wishes_are_not_wished_again() -> None:
    back = acceptance.restored(DOCUMENT, GOOD)
    assert back is not None
    assert (back.spec.names, back.spec.scale_down.victims) == ((), ())


def test_without_a_spec_a_template_or_sense_there_is_nothing_to_go_back_to() -> None:
    assert acceptance.restored(DOCUMENT, memory.Memory()) is None
    assert acceptance.restored(DOCUMENT, memory.Memory(accepted=GOOD.accepted)) is None
    odd = memory.Accepted(spec={"replicas": "many"}, revision=planning.V1)
    assert acceptance.restored(DOCUMENT, memory.Memory(accepted=odd, revisions=(TEMPLATE,))) is None
