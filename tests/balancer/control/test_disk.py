"""The file is written whole or not at all, and believed only if it is whole."""

from __future__ import annotations

import json
import os

import pytest
from ringmaster_balancer import members
from ringmaster_balancer.control import disk

MEMBERSHIP = members.Membership(
    epoch=5,
    generation=2,
    uid="u",
    replicas=1,
    members=(
        members.Member(
            id="web-0", replica="web-0-a", address="127.0.0.1:1", state=members.State.ACTIVE
        ),
    ),
)
CHECKSUM = members.checksum(MEMBERSHIP)


@pytest.fixture
def file(tmp_path):
    return disk.Disk(tmp_path / "default.web.json")


def test_what_was_saved_is_loaded(file):
    file.save(MEMBERSHIP, checksum=CHECKSUM)
    saved = file.load()
    assert (saved.membership, saved.checksum) == (MEMBERSHIP, CHECKSUM)
    assert [path.name for path in file.path.parent.iterdir()] == ["default.web.json"]


def test_nothing_saved_is_nothing_loaded(file):
    assert file.load() is None
    file.save(MEMBERSHIP, checksum=CHECKSUM)
    file.remove()
    file.remove()
    assert file.load() is None


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_a_cut_file_is_said_to_be_damaged(file, cut):
    file.save(MEMBERSHIP, checksum=CHECKSUM)
    file.path.write_bytes(file.path.read_bytes()[:cut])
    with pytest.raises(disk.DiskError, match="damaged"):
        file.load()


def test_a_changed_file_is_found_out_by_its_checksum(file):
    file.save(MEMBERSHIP, checksum=CHECKSUM)
    document = json.loads(file.path.read_text())
    document["membership"]["members"][0]["address"] = "127.0.0.1:2"
    file.path.write_text(json.dumps(document))
    with pytest.raises(disk.DiskError, match="checksum"):
        file.load()


@pytest.mark.parametrize("text", ["[]", "null", "{}", "\x00", "[" * 100_000])
def test_any_other_content_is_damage_too(file, text):
    file.path.write_text(text)
    with pytest.raises(disk.DiskError, match="damaged"):
        file.load()


def test_a_push_of_the_same_only_moves_the_time_of_the_last_push(file):
    file.save(MEMBERSHIP, checksum=CHECKSUM)
    os.utime(file.path, (1_000, 1_000))
    assert file.load().pushed_at == 1_000
    file.touch()
    assert file.load().pushed_at > 1_000


def test_what_cannot_be_written_leaves_the_earlier_file(file):
    file.save(MEMBERSHIP, checksum=CHECKSUM)
    file.path.with_name(file.path.name + ".new").mkdir()  # so that the draft cannot be opened
    with pytest.raises(disk.DiskError, match="cannot write"):
        file.save(MEMBERSHIP.model_copy(update={"generation": 3}), checksum="d")
    assert file.load().membership == MEMBERSHIP
