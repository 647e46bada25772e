"""Certificates as a client meets them: over real handshakes, with a clock that a test moves."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import socket
import ssl
import stat
import threading
from pathlib import Path

import pytest
from cryptography import x509
from ringmaster_operator import errors
from ringmaster_operator.api import certificates

DAY = dt.timedelta(days=1)


class Clock:
    def __init__(self) -> None:
        self.now = certificates.utc_now()

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown(certificate: certificates.Certificate) -> x509.Certificate:
    """What a client sees that believes everything."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return x509.load_der_x509_certificate(handshake(certificate, context, "x"))


def handshake(certificate: certificates.Certificate, context: ssl.SSLContext, name: str) -> bytes:
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with contextlib.suppress(OSError), certificate.context.wrap_socket(ours, server_side=True):
            pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with context.wrap_socket(theirs, server_hostname=name) as client:
            return client.getpeercert(binary_form=True) or b""
    finally:
        theirs.close()
        thread.join()
        ours.close()


def trusting(folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates.authority_file(folder))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "lb.example", "192.0.2.7"])
def test_a_client_that_has_the_authority_believes_each_name(tmp_path, name) -> None:
    made = certificates.Certificate(tmp_path / "tls", ["lb.example", "192.0.2.7", "lb.example"])
    assert handshake(made, trusting(tmp_path / "tls"), name)


def test_another_name_and_another_authority_are_not_believed(tmp_path) -> None:
    made = certificates.Certificate(tmp_path / "one", ["lb.example"])
    certificates.Certificate(tmp_path / "two", ["lb.example"])
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(made, trusting(tmp_path / "one"), "other.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, trusting(tmp_path / "two"), "lb.example")


def test_the_authority_signs_nothing_but_servers(tmp_path) -> None:
    certificates.Certificate(tmp_path / "tls", [])
    authority = x509.load_pem_x509_certificate(
        certificates.authority_file(tmp_path / "tls").read_bytes()
    )
    basic = authority.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)


def test_everything_is_its_owners_alone(tmp_path) -> None:
    certificates.Certificate(tmp_path / "tls", [])
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700
    files = sorted((tmp_path / "tls").iterdir())
    assert [path.name for path in files] == ["api.pem", "ca.crt", "ca.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert "PRIVATE" not in certificates.authority_file(tmp_path / "tls").read_text()


def test_a_restart_uses_the_same_one_again(tmp_path, clock) -> None:
    first = shown(certificates.Certificate(tmp_path / "tls", ["a", "b"], clock=clock))
    clock.now += 50 * DAY
    again = certificates.Certificate(tmp_path / "tls", ["b", "a"], clock=clock)
    assert shown(again) == first
    assert not again.renew()


def test_a_restart_with_other_names_keeps_the_authority(tmp_path) -> None:
    first = shown(certificates.Certificate(tmp_path / "tls", ["a"]))
    known = trusting(tmp_path / "tls")
    again = certificates.Certificate(tmp_path / "tls", ["b"])
    assert shown(again) != first
    assert handshake(again, known, "b")


def test_it_is_renewed_before_its_end_while_it_serves_under_the_same_authority(
    tmp_path, clock
) -> None:
    made = certificates.Certificate(tmp_path / "tls", ["a"], clock=clock)
    first, known = shown(made), trusting(tmp_path / "tls")
    left = first.not_valid_after_utc - clock.now
    clock.now += left - 29 * DAY
    assert made.renew()
    assert shown(made).not_valid_after_utc > first.not_valid_after_utc
    assert not made.renew()
    # Its beginning lies in the future by the real clock, so only its chain is looked at.
    shown(made).verify_directly_issued_by(
        x509.load_der_x509_certificate(known.get_ca_certs(binary_form=True)[0])
    )


def test_an_authority_that_would_end_before_its_certificate_is_replaced(tmp_path, clock) -> None:
    made = certificates.Certificate(tmp_path / "tls", ["a"], clock=clock)
    before = certificates.authority_file(tmp_path / "tls").read_text()
    clock.now += (3650 - 60) * DAY
    assert made.renew()
    assert certificates.authority_file(tmp_path / "tls").read_text() != before


@pytest.mark.parametrize("name", ["api.pem", "ca.pem", "ca.crt"])
@pytest.mark.parametrize("damage", [b"", b"\xff nonsense", None])
def test_what_is_damaged_or_missing_is_made_anew(tmp_path, name, damage) -> None:
    certificates.Certificate(tmp_path / "tls", ["a"])
    if damage is None:
        (tmp_path / "tls" / name).unlink()
    else:
        (tmp_path / "tls" / name).write_bytes(damage)
    again = certificates.Certificate(tmp_path / "tls", ["a"])
    assert handshake(again, trusting(tmp_path / "tls"), "a")


def test_a_key_of_another_certificate_is_not_used(tmp_path) -> None:
    certificates.Certificate(tmp_path / "one", ["a"])
    certificates.Certificate(tmp_path / "two", ["a"])
    shutil.copy(tmp_path / "two" / "api.pem", tmp_path / "one" / "api.pem")
    again = certificates.Certificate(tmp_path / "one", ["a"])
    assert handshake(again, trusting(tmp_path / "one"), "a")


@pytest.mark.parametrize("name", ["", "a b", "-a", "ü.example", "http://a", "a:1", "10.0.0.1/8"])
def test_what_is_no_name_is_refused_in_one_line(tmp_path, name) -> None:
    with pytest.raises(errors.UsageError, match="neither a host's name nor an address"):
        certificates.Certificate(tmp_path / "tls", [name])


def test_a_folder_that_cannot_be_used_is_said_in_one_line(tmp_path) -> None:
    (tmp_path / "tls").write_text("a file")
    with pytest.raises(errors.UsageError, match="cannot be used"):
        certificates.Certificate(tmp_path / "tls", [])
