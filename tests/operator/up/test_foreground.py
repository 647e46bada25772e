"""What `up` decides before and besides running things; the whole of it is in tests/e2e."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import serversets
import yaml
from ringmaster_operator import errors, statedir, store
from ringmaster_operator.runtimes import choice
from ringmaster_operator.up import children, foreground, specfiles


@pytest.fixture
def state(tmp_path: Path) -> statedir.StateDir:
    return statedir.StateDir(tmp_path / "state")


def settings(state: statedir.StateDir, **changes: Any) -> foreground.Settings:
    return foreground.Settings(state=state, host="127.0.0.1", **changes)


def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def file(path: Path, *changes: tuple[str, Any]) -> str:
    path.write_text(yaml.safe_dump(serversets.changed(*changes)))
    return str(path)


def said(order: children.Order) -> str:
    return " ".join(order.argv)


def keep(state: statedir.StateDir, *keys: tuple[str, str]) -> None:
    """ServerSets in the store of the folder, each a second younger than the one before."""
    state.prepare()
    seconds = itertools.count(1_763_863_200)
    with contextlib.closing(
        store.Store(state.database, clock=lambda: float(next(seconds)))
    ) as records:
        for namespace, name in keys:
            records.create(namespace, name, serversets.changed(("metadata.name", name)))


def test_the_ring_is_that_of_the_first_serverset(state) -> None:
    assert foreground.ring(state, []) == "default/web"
    first = {"metadata": {"name": "api", "namespace": "prod"}}
    keep(state, ("default", "web"))
    found = [specfiles.Found(each, "x.yaml:1") for each in (first, {"metadata": {"name": "web"}})]
    assert foreground.ring(state, found) == "prod/api"


def test_without_files_the_ring_is_that_of_the_set_that_is_kept(state) -> None:
    keep(state, ("prod", "api"))
    assert foreground.ring(state, []) == "prod/api"


def test_of_several_that_are_kept_it_is_the_one_served_last_else_the_oldest(state) -> None:
    keep(state, ("prod", "web"), ("default", "api"), ("default", "web"))
    assert foreground.ring(state, []) == "prod/web"
    state.ring_file.write_text('{"ring": "default/api"}')
    assert foreground.ring(state, []) == "default/api"
    state.ring_file.write_text('{"ring": "default/gone"}')
    assert foreground.ring(state, []) == "prod/web"


def test_balancer_and_operator_are_told_of_each_other(state) -> None:
    balancer, operator = foreground.orders(
        settings(state, port=1, control_port=2, api_port=3, files=("a.yaml",)), "default/web"
    )
    assert said(balancer).startswith(f"{sys.executable} -m ringmaster_balancer --ring default/web")
    for part in ("--port 1", "--control-port 2", "--lab-api --operator-url http://127.0.0.1:3"):
        assert part in said(balancer)
    for part in ("--api-port 3", "--balancer-url http://127.0.0.1:2", "-f a.yaml"):
        assert part in said(operator)
    assert (balancer.ports, operator.ports) == ((1, 2), (3,))


def test_the_balancer_is_told_where_the_users_hash_functions_are(state, tmp_path) -> None:
    balancer, _ = foreground.orders(settings(state, hash_path=tmp_path), "default/web")
    assert f"--hash-path {tmp_path}" in said(balancer)
    balancer, _ = foreground.orders(settings(state), "default/web")
    assert "--hash-path" not in said(balancer)


def test_without_the_lab_api_the_balancer_does_not_know_the_operator(state) -> None:
    balancer, _ = foreground.orders(settings(state, lab_api=False, workers=3), "default/web")
    assert "--lab-api" not in said(balancer)
    assert "--operator-url" not in said(balancer)
    assert "--workers 3" in said(balancer)


def test_no_secret_is_on_a_command_line(state) -> None:
    state.prepare()
    token = state.token()
    assert not [
        order for order in foreground.orders(settings(state), "default/web") if token in said(order)
    ]


def test_a_wrong_spec_file_starts_nothing(state, tmp_path) -> None:
    path = file(tmp_path / "bad.yaml", ("spec.replicas", -1), ("spec.surprise", 1))
    with pytest.raises(errors.SpecInvalidError) as caught:
        foreground.run(settings(state, files=(path,)), say=print)
    assert len(caught.value.faults) == 2
    assert not state.root.exists()


def test_what_a_process_cannot_honour_is_said_before_anything_starts(state, tmp_path) -> None:
    path = file(tmp_path / "bad.yaml", ("spec.template.spec.hostNetwork", True))
    with pytest.raises(errors.SpecInvalidError, match="hostNetwork"):
        foreground.run(settings(state, files=(path,)), say=print)


def test_standard_input_is_no_spec_file(state) -> None:
    with pytest.raises(errors.UsageError, match="standard input"):
        foreground.run(settings(state, files=("-",)), say=print)


def test_a_taken_port_starts_nothing(state) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(errors.UsageError, match=f"port {taken} is taken by"):
            foreground.run(
                settings(state, port=taken, control_port=free(), api_port=free()), say=print
            )
    assert not list((state.root / "run").iterdir())


def test_the_port_of_a_balancer_whose_record_was_lost_is_no_strangers(state) -> None:
    # As after `up` was killed and the state folder removed.
    state.prepare()
    port = free()
    listen = (
        "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])));"
        "print('there', flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", listen, str(port)]
    env = os.environ | children._marks(state, "balancer")
    wanted = settings(state, port=port, control_port=free(), api_port=free())
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"there\n"
            foreground._check_ports(wanted)
        finally:
            process.kill()


def test_what_was_started_is_ended_again_if_the_rest_does_not_start(state, monkeypatch) -> None:
    sleeping = (sys.executable, "-c", "import time; time.sleep(600)")
    broken = (str(state.root / "nowhere"),)
    monkeypatch.setattr(
        foreground,
        "orders",
        lambda *_: (
            children.Order(name="balancer", argv=sleeping, ports=()),
            children.Order(name="operator", argv=broken, ports=()),
        ),
    )
    before = set(psutil.Process().children())
    with pytest.raises(errors.UsageError, match="cannot start"):
        foreground.run(
            settings(state, port=free(), control_port=free(), api_port=free()), say=print
        )
    assert set(psutil.Process().children()) == before
    assert children.find_recorded(state, "balancer") is None


class Patience:
    """Signals of a user who ends `up` once `look` is true, or it took too long."""

    def __init__(self, look) -> None:
        self._look = look
        self._deadline = time.monotonic() + 30

    def ending(self) -> bool:
        return self._look() or time.monotonic() > self._deadline


def test_the_logs_of_what_is_supervised_are_bounded_meanwhile(state, monkeypatch) -> None:
    state.prepare()
    monkeypatch.setattr(children, "_LOG_BYTES", 10)
    argv = (sys.executable, "-c", "import time; print('x' * 20, flush=True); time.sleep(600)")
    child = children.Child(order=children.Order(name="balancer", argv=argv, ports=()), state=state)
    older = state.log_file("balancer").with_suffix(".log.1")
    child.start()
    chosen = settings(state, port=free(), control_port=free(), api_port=free())
    try:
        foreground._supervise(chosen, "default/web", [child], Patience(older.exists), say=print)
        assert child.alive()
    finally:
        child.end(grace=0)
    assert older.read_text() == "x" * 9 + "\n"


def test_the_hint_names_the_set_that_is_served(state) -> None:
    assert any("serverset/api " in line for line in foreground._hint(settings(state), name="api"))


def test_without_a_set_it_is_said_how_to_make_the_one_that_is_served(state, monkeypatch) -> None:
    (line,) = foreground._empty(settings(state), name="prod/api")
    assert line == (
        f"no ServerSet yet: ringmaster --state-dir {state.root} apply -f FILE "
        "(the balancer serves prod/api)"
    )
    monkeypatch.setenv("RINGMASTER_STATE_DIR", str(state.root))
    (line,) = foreground._empty(settings(state), name="default/web")
    assert line.startswith("no ServerSet yet: ringmaster apply -f FILE")


def test_a_second_up_on_one_folder_is_told_of_the_first(state) -> None:
    state.prepare()
    children.write_record(state, children.Order(name="up", argv=(), ports=()), psutil.Process())
    with (
        state.lock("up", busy=""),
        pytest.raises(errors.UsageError, match=rf"another `ringmaster up` \(pid {os.getpid()}\)"),
    ):
        foreground.run(settings(state), say=print)


@pytest.fixture
def signals():
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
    subject = foreground.Signals()
    subject.install()
    yield subject
    for number, handler in before.items():
        signal.signal(number, handler)


SLEEPING = (sys.executable, "-c", "import time; time.sleep(600)")
REFUSING = (sys.executable, "-c", "import sys; sys.exit('no such network')")


@pytest.fixture
def refused(state, monkeypatch):
    """An operator that says that it cannot start, beside a balancer that can."""
    made = (
        children.Order(name="balancer", argv=SLEEPING, ports=(free(),)),
        children.Order(name="operator", argv=REFUSING, ports=(free(),)),
    )
    monkeypatch.setattr(foreground, "orders", lambda *_: made)
    started, spawn = [], children._spawn

    def spawned(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(spawn(*words, **options))
        return started[-1]

    monkeypatch.setattr(children, "_spawn", spawned)
    yield settings(state, port=free(), control_port=free(), api_port=free())
    for each in started:  # they have ended; Python shall know
        each.wait()


@pytest.mark.usefixtures("signals")
def test_an_operator_that_cannot_start_ends_all_with_its_own_words(state, refused) -> None:
    before = set(psutil.Process().children())
    said: list[str] = []
    with pytest.raises(errors.UsageError, match=r"^the operator cannot start: no such network$"):
        foreground.run(refused, say=said.append)
    assert sum("it is started again" in line for line in said) == 2
    assert set(psutil.Process().children()) == before
    assert not list((state.root / "run").glob("*.json"))


@pytest.mark.usefixtures("signals")
def test_what_keeps_the_operator_from_starting_may_keep_its_replicas_from_us(
    state, refused, monkeypatch
) -> None:
    keep(state, ("default", "web"))

    def lost(*_: Any) -> None:
        raise errors.UsageError("no such network")

    monkeypatch.setattr(choice, "opened", lost)
    with pytest.raises(errors.UsageError, match=r"^the operator cannot start: no such network$"):
        foreground.run(refused, say=print)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("name", ["balancer", "operator"])
def test_where_something_ran_before_no_trouble_of_a_child_ends_it(state, refused, name) -> None:
    state.prepare()
    earlier = children.Child(
        order=children.Order(name=name, argv=SLEEPING, ports=(refused.port,)), state=state
    )
    earlier.start()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if sum("it is started again" in each for each in said[:-1]) == 4 and "again in" in line:
            signal.raise_signal(signal.SIGTERM)

    assert foreground.run(refused, say=say) == 0


def test_the_first_signal_ends_and_the_second_hurries(signals) -> None:
    seen = [(signals.ending(), signals.hurried())]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.raise_signal(number)
        seen.append((signals.ending(), signals.hurried()))
    assert seen == [(False, False), (True, False), (True, True)]


def test_a_closed_terminal_ends_all_too(signals) -> None:
    signal.raise_signal(signal.SIGHUP)
    assert signals.ending()
