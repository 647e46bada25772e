"""The keys of the gate."""

from __future__ import annotations

import hashlib
import ipaddress
import subprocess
import sys
import uuid

from ringmaster_balancer.ring import samples


def test_each_kind_is_what_it_says_and_no_key_comes_twice():
    for kind in samples.KINDS.values():
        keys = kind()
        assert len(keys) == len(set(keys)) == samples.COUNT
    assert all(uuid.UUID(key.decode()).version == 4 for key in samples.uuids(100))
    assert all(ipaddress.ip_address(key.decode()) for key in samples.addresses())
    assert samples.integers(3) == [b"0", b"1", b"2"]


def test_every_process_has_the_same_ones():
    code = (
        "import hashlib; from ringmaster_balancer.ring import samples;"
        "print(hashlib.sha256(b'|'.join(samples.golden())).hexdigest())"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONHASHSEED": "5"}, capture_output=True, check=True
    )
    here = hashlib.sha256(b"|".join(samples.golden())).hexdigest()
    assert there.stdout.strip().decode() == here
