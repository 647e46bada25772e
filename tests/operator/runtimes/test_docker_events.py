from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from ringmaster_operator import errors, naming
from ringmaster_operator.runtimes import docker_events


class Stream:
    """Gives what is put into it; None ends it."""

    def __init__(self) -> None:
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (event := self.events.get(timeout=30)) is not None:
            yield event

    def shut(self) -> None:
        self.events.put(None)


class Engine:
    """Hands out its streams one after another; an exception among them is raised."""

    def __init__(self, *answers: Stream | Exception) -> None:
        self.answers = list(answers)

    def events(self, label: str) -> Stream:
        assert label == naming.LABEL_SET_UID
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def raw(action: str = "die", **labels: str) -> dict[str, Any]:
    return {"Action": action, "Actor": {"ID": "c1", "Attributes": labels}}


class Heard:
    """What was passed on."""

    def __init__(self) -> None:
        self.queue: queue.Queue[docker_events.Event | None] = queue.Queue()

    def __call__(self, event: docker_events.Event | None) -> None:
        self.queue.put(event)

    def next(self) -> docker_events.Event | None:
        return self.queue.get(timeout=30)


def test_a_stream_begins_with_a_look_at_everything_then_each_event() -> None:
    stream, heard = Stream(), Heard()
    events = docker_events.Events(Engine(stream), heard)
    stream.events.put(raw("die", **{naming.LABEL_SET_UID: "u-1"}))

    assert heard.next() is None
    assert heard.next() == docker_events.Event("die", "c1", "u-1")
    events.close()


def test_a_stream_that_ends_is_opened_again_and_what_was_missed_is_looked_for() -> None:
    first, second, heard = Stream(), Stream(), Heard()
    away = errors.RetryLater("the engine does not answer")
    events = docker_events.Events(Engine(first, away, away, second), heard)
    assert heard.next() is None
    first.shut()

    assert heard.next() is None
    second.events.put(raw("start", **{naming.LABEL_SET_UID: "u-1"}))
    assert heard.next() == docker_events.Event("start", "c1", "u-1")
    events.close()


def test_an_event_of_nobodys_container_is_passed_over() -> None:
    stream, heard = Stream(), Heard()
    events = docker_events.Events(Engine(stream), heard)
    stream.events.put(raw())
    stream.events.put({})
    stream.events.put(raw("die", **{naming.LABEL_SET_UID: "u-2"}))

    assert heard.next() is None
    assert heard.next() == docker_events.Event("die", "c1", "u-2")
    events.close()


def test_whatever_goes_wrong_with_an_event_the_next_stream_is_listened_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second, heard = Stream(), Stream(), Heard()

    def picky(event: docker_events.Event | None) -> None:
        heard(event)
        if event and event.container == "c1" and len(engine.answers) > 1:
            raise KeyError("a bug of whoever listens")

    engine = Engine(first, second, second)
    events = docker_events.Events(engine, picky)
    first.events.put(raw("die", **{naming.LABEL_SET_UID: "u-1"}))
    assert [heard.next(), heard.next()] == [None, docker_events.Event("die", "c1", "u-1")]

    assert heard.next() is None
    second.events.put(raw("start", **{naming.LABEL_SET_UID: "u-2"}))
    assert heard.next() == docker_events.Event("start", "c1", "u-2")
    events.close()
    assert "a bug of whoever listens" in capsys.readouterr().out


def test_closing_ends_the_thread() -> None:
    events = docker_events.Events(Engine(Stream()), Heard())
    events.close()
    events.close()
    assert "docker-events" not in {thread.name for thread in threading.enumerate()}
