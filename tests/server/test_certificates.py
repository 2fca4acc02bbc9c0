"""A certificate is replaced without a restart, and its end is told in time."""

from __future__ import annotations

import asyncio
import dataclasses
import pathlib
import re
import shutil
import socket
import ssl
import time

import pytest

import raftlog
from raftlog.interfaces import Alarm, Alarms, Event, Measure
from raftlog.security.tls import create_certificates
from raftlog.server.certificates import CertificateWatch
from raftlog.server.compose import compose
from raftlog.wire.channel import TlsSource
from raftlog.wire.material import expires_at, serial_number
from tests.rpc.doubles import until
from tests.rpc.recording import RecordingObserver
from tests.security.certificates import material, reissue


@pytest.fixture
def files(tmp_path: pathlib.Path) -> pathlib.Path:
    """A node's certificate, and a client's."""
    create_certificates(tmp_path / "certs", ["n1"])
    return tmp_path / "certs"


class Watched:
    """A watch over a node's files, with everything it tells."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.source = TlsSource(material(directory, "n1"))
        self.observer = RecordingObserver()
        self.alarms = Alarms(self.observer)
        self.now = time.time()
        names = tuple(str(directory / name) for name in ("ca.crt", "n1.crt", "n1.key"))
        self.watch = CertificateWatch(
            self.source, names, self.observer, self.alarms, lambda: self.now
        )

    async def look(self, times: int = 2) -> None:
        for _ in range(times):
            await self.watch.look()

    def told(self, event: Event) -> list[dict[str, object]]:
        return self.observer.named(event)


async def test_new_files_are_taken_into_use_once(files: pathlib.Path) -> None:
    """A certificate of another serial number is used from the second look on, and told once."""
    watched = Watched(files)
    before = serial_number(watched.source.material)
    await watched.look(3)
    assert not watched.told(Event.CERTIFICATE_REPLACED)
    create_certificates(files, ["n1"])
    await watched.look(1)
    assert serial_number(watched.source.material) == before
    await watched.look(3)
    assert watched.source.material == material(files, "n1")
    assert [told["serial"] for told in watched.told(Event.CERTIFICATE_REPLACED)] == [
        serial_number(watched.source.material)
    ]
    assert serial_number(watched.source.material) != before


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda d: (d / "n1.crt").write_bytes(b"garbage"), "n1.crt is not a certificate"),
        (lambda d: (d / "n1.key").unlink(), "cannot read .*n1.key"),
        (lambda d: shutil.copy(d / "client.key", d / "n1.key"), "not the key of the certificate"),
    ],
)
async def test_bad_files_change_nothing_and_are_an_alarm(files, damage, why) -> None:
    """The material read before stays; the alarm says what is wrong, until it is mended."""
    watched = Watched(files)
    kept = watched.source.material
    await watched.look()
    damage(files)
    await watched.look(4)
    assert watched.source.material is kept
    assert len(watched.told(Event.CERTIFICATE_UNUSABLE)) == 1
    assert re.search(why, watched.alarms.why(Alarm.CERTIFICATE_UNUSABLE))
    create_certificates(files, ["n1"])
    await watched.look()
    assert Alarm.CERTIFICATE_UNUSABLE not in watched.alarms
    assert watched.source.material == material(files, "n1")


async def test_the_end_is_an_alarm_before_it_comes(files: pathlib.Path) -> None:
    """Two weeks before it ends it is an alarm, which a new certificate takes back."""
    reissue(files, "n1", days=20)
    watched = Watched(files)
    await watched.look()
    ends = expires_at(watched.source.material)
    assert watched.observer.gauges[Measure.CERTIFICATE_EXPIRY_SECONDS] == ends
    assert not watched.alarms.raised
    watched.now = ends - 13 * 86_400
    await watched.look()
    assert "expires on" in watched.alarms.why(Alarm.CERTIFICATE_EXPIRES)
    watched.now = ends + 1
    await watched.look()
    assert "expired on" in watched.alarms.why(Alarm.CERTIFICATE_EXPIRES)
    assert len(watched.told(Event.CERTIFICATE_EXPIRES)) == 1
    create_certificates(files, ["n1"])
    await watched.look()
    assert not watched.alarms.raised
    assert watched.observer.gauges[Measure.CERTIFICATE_EXPIRY_SECONDS] > ends


def shown_serial(address: str, directory: pathlib.Path) -> str:
    """The serial number of the certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=directory / "ca.crt")
    context.load_cert_chain(directory / "client.crt", directory / "client.key")
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host) as secured,
    ):
        return secured.getpeercert()["serialNumber"].lstrip("0")


async def test_a_running_node_shows_its_new_certificate(settings, files: pathlib.Path) -> None:
    """New connections see the new serial number; a client that was connected goes on."""
    tls = dataclasses.replace(
        settings.tls,
        cacert=str(files / "ca.crt"),
        cert=str(files / "n1.crt"),
        key=str(files / "n1.key"),
    )
    running = await compose(dataclasses.replace(settings, tls=tls))
    try:
        credentials = {
            "cacert": files / "ca.crt", "cert": files / "client.crt", "key": files / "client.key",
        }  # fmt: skip
        async with raftlog.connect(settings.listen, timeout=20, **credentials) as client:
            await client.log.append(b"before")
            old = await asyncio.to_thread(shown_serial, settings.listen, files)
            assert old == serial_number(material(files, "n1"))
            create_certificates(files, ["n1"])
            await running.certificates.look()
            await running.certificates.look()
            new = await asyncio.to_thread(shown_serial, settings.listen, files)
            assert new == serial_number(material(files, "n1")) != old
            await client.log.append(b"after")
        async with raftlog.connect(settings.listen, timeout=20, **credentials) as client:
            assert (await client.log.append(b"anew")).sequence == 3
        await until(lambda: not running.node.alarms.raised)
        exported = re.search(
            rb"\nraftlog_certificate_expiry_timestamp_seconds (\S+)", running.observer.exposition()
        )
        assert float(exported[1]) == expires_at(material(files, "n1"))
    finally:
        await running.stop(hand_over=False)
