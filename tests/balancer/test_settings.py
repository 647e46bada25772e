"""A process gets exactly what its supervisor decided."""

from __future__ import annotations

from pathlib import Path

from ringmaster_balancer import settings

SETTINGS = settings.Settings(
    namespace="default",
    name="web",
    host="127.0.0.1",
    port=5000,
    control_host="127.0.0.1",
    control_port=5001,
    workers=2,
    token_file="/token",
    state_dir="/state",
    lab_api=True,
    operator_url=None,
    operator_token_file=None,
    drain_seconds=30.0,
)


def test_a_childs_settings_survive_the_command_line():
    child = settings.Child(settings=SETTINGS, run_dir="/run/ü", lifeline_fd=3, data_fd=7, index=1)
    assert settings.Child.from_json(child.to_json()) == child


def test_a_child_inherits_only_the_descriptors_that_are_its_own():
    worker = settings.Child(settings=SETTINGS, run_dir="/r", lifeline_fd=3, data_fd=7)
    control = settings.Child(
        settings=SETTINGS, run_dir="/r", lifeline_fd=3, control_fd=4, workers_fd=5, lab_fd=6
    )
    assert worker.descriptors() == (3, 7)
    assert control.descriptors() == (3, 4, 5, 6)
    heir = settings.Child(
        settings=SETTINGS, run_dir="/r", lifeline_fd=3, data_fd=7, more_fds=(8, 9), ready_fd=5
    )
    assert heir.descriptors() == (3, 7, 5, 8, 9)
    assert settings.Child.from_json(heir.to_json()) == heir


def test_two_rings_can_share_a_state_folder():
    assert SETTINGS.state_file == Path("/state/default.web.json")
