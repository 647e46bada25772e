"""What the operator pushes is what a balancer accepts, at every moment of a set's life."""

from __future__ import annotations

from typing import Any

import simulation
from ringmaster_balancer import members

PROBE = {"httpGet": {"path": "/heartbeat", "port": "http"}, "periodSeconds": 1}


def test_every_push_of_a_life_is_accepted_by_the_balancers_parser() -> None:
    world = simulation.World(balancers=1, ring={"scheme": "classic"})
    pushed: list[dict[str, Any]] = []
    check = world.announcer.on_push
    world.announcer.on_push = lambda document: (check(document), pushed.append(document))
    template = simulation.template("v2")
    container = template["spec"]["containers"][0]
    container |= {"ports": [{"name": "http", "containerPort": 5000}], "readinessProbe": PROBE}
    world.run(3.0)
    world.edit(replicas=5, names=["S5"], template=template)
    world.run(8.0)
    world.runtime.kill(world.ring()[0])
    world.runtime.freeze(world.ring()[1])
    world.run(20.0)
    world.edit(replicas=0)
    world.run(5.0)
    world.records.delete(*simulation.KEY)
    world.run(5.0)
    accepted = [members.parse(document) for document in pushed]
    assert len(accepted) > 10
    states = {member.state.value for one in accepted for member in one.members}
    assert states == {"active", "draining", "absent"}
    assert any(one.health.path == "/heartbeat" for one in accepted)
    assert accepted[-1].replicas == 0
