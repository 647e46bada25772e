"""What the contract does not ask: the Docker runtime's own promises, on a real engine."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import containers
import pytest
import stack
from ringmaster_operator import errors, observed
from ringmaster_operator.runtimes import docker
from runtime_worlds import OWNERS, DockerWorld, Program, birth, template

OWNER = OWNERS[0]
pytestmark = pytest.mark.docker


@pytest.fixture
def world(tmp_path: Path) -> Iterator[DockerWorld]:
    made = DockerWorld(tmp_path)
    yield made
    made.close()


def only(world: DockerWorld) -> observed.Replica:
    (replica,) = world.runtime.observe(OWNER)
    return replica


def ready(world: DockerWorld) -> observed.Replica:
    return stack.eventually(lambda: only(world).ready and only(world), what="a ready replica")


def changed(**container: Any) -> dict[str, Any]:
    made = template(Program.SERVER)
    made["spec"]["containers"][0] |= container
    return made


def test_limits_are_the_containers(world: DockerWorld) -> None:
    limits = {"limits": {"memory": "64Mi", "cpu": "500m"}}
    world.runtime.create(birth(OWNER, template=changed(resources=limits)))

    given = containers.inspect(only(world).uid)["HostConfig"]
    assert (given["Memory"], given["NanoCpus"]) == (64 << 20, 500_000_000)
    assert given["RestartPolicy"]["Name"] == "no"


def test_the_log_is_bounded(world: DockerWorld) -> None:
    world.runtime.create(birth(OWNER, template=template(Program.SERVER)))
    config = containers.inspect(only(world).uid)["HostConfig"]["LogConfig"]
    if config["Type"] != "json-file":
        pytest.skip(f"this engine logs by {config['Type']}")
    assert config["Config"] == {"max-size": "16m", "max-file": "2"}


def test_a_server_that_makes_itself_a_daemon_is_given_a_hint(world: DockerWorld) -> None:
    made = changed(command=["sh", "-c", "sleep 600 & echo gone"])
    world.runtime.create(birth(OWNER, template=made))
    failed = stack.eventually(
        lambda: only(world).phase is observed.Phase.FAILED and only(world), what="failed"
    )
    assert failed.message == (
        "exited with code 0: gone (a server must stay in the foreground: no daemon mode)"
    )


def test_a_probe_that_hangs_runs_once_and_is_tried_again_when_it_ended(
    world: DockerWorld,
) -> None:
    script = "echo x >> /tmp/begun; while [ ! -e /tmp/go ]; do sleep 0.1; done"
    probe = {"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 1, "timeoutSeconds": 1}
    world.runtime.create(birth(OWNER, template=changed(readinessProbe=probe)))
    asked: list[bool] = []
    execute = world.runtime._execute

    async def counted(uid: str, command: tuple[str, ...]) -> bool:
        asked.append(True)
        return await execute(uid, command)

    world.runtime._execute = counted  # type: ignore[method-assign]  # counts, changes nothing
    stack.eventually(lambda: len(asked) > 3, what="some periods")
    begun = lambda: containers.docker("exec", only(world).uid, "cat", "/tmp/begun")  # noqa: E731
    assert begun().split() == ["x"]
    containers.docker("exec", only(world).uid, "touch", "/tmp/go")
    ready(world)


def test_a_command_is_a_probe_too(world: DockerWorld) -> None:
    probe = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    world.runtime.create(birth(OWNER, template=changed(readinessProbe=probe)))
    assert not only(world).ready
    containers.docker("exec", only(world).uid, "touch", "/tmp/ready")
    ready(world)
    containers.docker("exec", only(world).uid, "rm", "/tmp/ready")
    stack.eventually(lambda: not only(world).ready, what="unready")


def test_a_container_that_is_started_again_is_judged_anew_at_its_new_address(
    world: DockerWorld,
) -> None:
    world.runtime.create(birth(OWNER))
    before = ready(world)
    containers.docker("stop", "--time", "0", before.uid)
    # Somebody takes the address that it had.
    world.runtime.create(birth(OWNER, 1))
    containers.docker("start", before.uid)

    def again() -> observed.Replica | None:
        found = {replica.uid: replica for replica in world.runtime.observe(OWNER)}[before.uid]
        return found if found.ready else None

    after = stack.eventually(again, what="readiness after the restart")
    assert before.ready_since is not None
    assert after.ready_since is not None
    assert after.ready_since > before.ready_since
    network = containers.inspect(before.uid)["NetworkSettings"]["Networks"]["bridge"]
    assert after.address == f"{network['IPAddress']}:5000"


def test_a_container_that_was_made_and_never_started_counts_as_failed(world: DockerWorld) -> None:
    world.runtime.create(birth(OWNER))
    labels = containers.inspect(only(world).uid)["Config"]["Labels"]
    containers.docker("rm", "--force", only(world).uid)
    flags = [f"--label={name}={value}" for name, value in labels.items()]
    containers.docker("create", *flags, containers.PYTHON_IMAGE, "sleep", "600")

    assert only(world).phase is observed.Phase.FAILED
    world.runtime.remove(only(world), grace_seconds=30)
    stack.eventually(lambda: not world.runtime.observe(OWNER), what="its removal")


def test_a_container_that_vanishes_while_it_is_listed_is_left_out(world: DockerWorld) -> None:
    world.runtime.create(birth(OWNER, 0))
    world.runtime.create(birth(OWNER, 1))
    listed = world.runtime._engine.listed
    first = min(world.runtime.observe(OWNER), key=lambda replica: replica.ordinal)

    def then_gone(labels: Any) -> Any:
        found = listed(labels)
        containers.docker("rm", "--force", first.uid)
        return found

    world.runtime._seen.clear()
    world.runtime._engine.listed = then_gone  # type: ignore[method-assign]
    try:
        assert [replica.ordinal for replica in world.runtime.observe(OWNER)] == [1]
    finally:
        world.runtime._engine.listed = listed  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("policy", "reason"), [("Never", "ErrImageNeverPull"), ("IfNotPresent", "ErrImagePull")]
)
def test_an_image_that_cannot_be_had_is_refused_in_the_engines_words(
    world: DockerWorld, policy: str, reason: str
) -> None:
    image = "ringmaster.invalid/none:1"
    asked = birth(OWNER, template=changed(image=image, imagePullPolicy=policy))

    def refused() -> errors.RefusedError | None:
        try:
            world.runtime.create(asked)
        except errors.PendingError:  # where a name server takes its time
            return None
        except errors.RefusedError as error:
            return error
        return None

    error = stack.eventually(refused, what="the refusal")
    assert error.reason == reason
    assert image in str(error)
    assert world.leftovers() == []


def test_a_name_of_anybodys_container_is_taken(world: DockerWorld) -> None:
    world.runtime.create(birth(OWNER))
    assert "already in use" in world.runtime.name_fault(only(world).name)
    assert world.runtime.name_fault(uuid.uuid4().hex) == ""
    assert "no name that Docker allows" in world.runtime.name_fault("x")


def test_a_name_that_begins_a_containers_id_is_free(world: DockerWorld) -> None:
    world.runtime.create(birth(OWNER))
    uid = only(world).uid
    assert [world.runtime.name_fault(name) for name in (uid[:2], uid[:12], uid)] == ["", "", ""]


def test_a_name_that_docker_refuses_is_refused_for_good(world: DockerWorld) -> None:
    with pytest.raises(errors.RefusedError, match="S: no name that Docker allows") as caught:
        world.runtime.create(birth(OWNER, name="S"))
    assert caught.value.reason == errors.INVALID_NAME  # the place gives the name up
    assert world.leftovers() == []


def test_a_signal_that_the_engine_cannot_send_is_sent_at_the_next_look(
    world: DockerWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.runtime.create(birth(OWNER))
    signal = world.runtime._engine.signal

    def fail(container: str, name: str) -> None:
        raise errors.RetryLater(f"signal {container[:12]}: the engine has an internal error")

    world.runtime._engine.signal = fail  # type: ignore[method-assign]
    try:
        world.runtime.remove(ready(world), grace_seconds=600)
        assert only(world).phase is observed.Phase.TERMINATING
    finally:
        world.runtime._engine.signal = signal  # type: ignore[method-assign]
    stack.eventually(lambda: not world.runtime.observe(OWNER), what="its end, without the grace")
    assert "internal error" in capsys.readouterr().out


def test_a_list_that_is_older_than_a_container_forgets_nothing_of_it(world: DockerWorld) -> None:
    listed = world.runtime._engine.listed

    def too_early(labels: Any) -> Any:
        found = listed(labels)
        if not world.leftovers():
            world.runtime.create(birth(OWNER))
        return found

    world.runtime._engine.listed = too_early  # type: ignore[method-assign]
    try:
        assert world.runtime.observe(OWNER) == []
    finally:
        world.runtime._engine.listed = listed  # type: ignore[method-assign]
    (uid,) = world.leftovers()
    assert world.runtime._notes.get(uid) is not None
    assert uid in world.runtime._followed


def test_what_docker_cannot_give_is_refused_with_its_path(world: DockerWorld) -> None:
    asked = changed(
        securityContext={"privileged": True}, resources={"limits": {"memory": "64Mi", "gpu": 1}}
    )
    assert [fault.path.rpartition("[0].")[2] for fault in world.runtime.check(asked)] == [
        "securityContext",
        "resources.limits.gpu",
    ]
    small = changed(resources={"limits": {"memory": "1Mi"}})
    assert [fault.message for fault in world.runtime.check(small)] == ["Docker needs at least 6Mi"]


def test_replicas_of_a_project_carry_composes_labels(tmp_path: Path) -> None:
    world = DockerWorld(tmp_path)
    world.runtime.close()
    world.runtime = docker.DockerRuntime(tmp_path, project="some-project")
    try:
        world.runtime.create(birth(OWNER))
        shown = containers.docker("compose", "--project-name", "some-project", "ps", "--format=json")  # fmt: skip
        assert json.loads(shown)["Name"] == only(world).name
    finally:
        world.close()


@pytest.mark.parametrize(("network", "says"), [("no-such-net", "there is no"), ("host", "no addr")])
def test_a_network_without_addresses_is_no_place(
    world: DockerWorld, tmp_path: Path, network: str, says: str
) -> None:
    with pytest.raises(errors.UsageError, match=says):
        docker.DockerRuntime(tmp_path, network=network)


def test_without_an_engine_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{stack.free_port()}")
    with pytest.raises(errors.UsageError, match="no Docker Engine answers"):
        docker.DockerRuntime(tmp_path)
