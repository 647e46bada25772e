from __future__ import annotations

import threading

import pytest
import virtual_clock
from ringmaster_operator import errors
from ringmaster_operator.runtimes import docker_images

IMAGE = "ringmaster/server:0.1.0"


class Registry:
    """Pulls end when `answer` is set; `error` is what they end with."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.pulled: list[str] = []
        self.answer = threading.Event()
        self.error: Exception | None = None
        if at_once:
            self.answer.set()

    def pull(self, image: str) -> None:
        self.pulled.append(image)
        assert self.answer.wait(30)
        if self.error:
            raise self.error


def patient(registry: Registry) -> docker_images.Images:
    return docker_images.Images(registry, wait_seconds=30)


def hasty(registry: Registry) -> docker_images.Images:
    return docker_images.Images(registry, wait_seconds=0.01)


def test_only_always_pulls_what_may_be_there() -> None:
    registry = Registry()
    for policy in ("Never", "IfNotPresent", "Always"):
        patient(registry).before_create(IMAGE, policy=policy)
    assert registry.pulled == [IMAGE]


def test_a_wave_of_replicas_pulls_once_and_the_next_one_again() -> None:
    registry, clock = Registry(), virtual_clock.VirtualClock()
    images = docker_images.Images(registry, wait_seconds=30, clock=clock)
    for _ in range(30):
        images.before_create(IMAGE, policy="Always")
    images.before_create("another:1", policy="Always")
    assert registry.pulled == [IMAGE, "another:1"]
    clock.advance(docker_images.FRESH_SECONDS)
    images.before_create(IMAGE, policy="Always")
    assert registry.pulled == [IMAGE, "another:1", IMAGE]


def test_an_image_that_was_removed_after_its_pull_is_pulled_again() -> None:
    registry = Registry()
    images = patient(registry)
    images.before_create(IMAGE, policy="Always")
    images.missing(IMAGE, policy="Always")
    assert registry.pulled == [IMAGE, IMAGE]


def test_a_missing_image_is_pulled() -> None:
    registry = Registry()
    patient(registry).missing(IMAGE, policy="IfNotPresent")
    assert registry.pulled == [IMAGE]


def test_a_missing_image_that_shall_not_be_pulled_is_refused() -> None:
    with pytest.raises(errors.RefusedError, match="imagePullPolicy is Never") as caught:
        patient(Registry()).missing(IMAGE, policy="Never")
    assert caught.value.reason == "ErrImageNeverPull"


def test_nobody_waits_for_a_long_pull_and_all_who_ask_share_it() -> None:
    registry = Registry(at_once=False)
    images = hasty(registry)
    for _ in range(3):
        with pytest.raises(errors.PendingError, match="is being pulled"):
            images.missing(IMAGE, policy="IfNotPresent")
    with pytest.raises(errors.PendingError):
        images.before_create(IMAGE, policy="IfNotPresent")  # it may be half there
    assert registry.pulled == [IMAGE]
    registry.answer.set()


def test_a_pull_that_failed_tells_so_and_the_next_try_begins_anew() -> None:
    registry = Registry()
    registry.error = errors.RefusedError("ErrImagePull", "no such host")
    images = patient(registry)
    for _ in range(2):
        with pytest.raises(errors.RefusedError, match="no such host"):
            images.missing(IMAGE, policy="IfNotPresent")
    assert registry.pulled == [IMAGE, IMAGE]
