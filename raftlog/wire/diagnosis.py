"""Why a connection does not come up: one look at the address, in words that say what to do.

gRPC hides a failed handshake behind "unavailable". So where connecting failed, the address is
tried once more by hand: the name, the port, the protocol, the two certificates. The look is made
on a thread of its own, in a bounded time, and sends nothing but the opening of a connection.
Whatever it finds, the connection stays refused: it explains, and never trusts more than gRPC does.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import enum
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator

from raftlog.wire import channel as wire_channel
from raftlog.wire.channel import OpenChannel, TlsMaterial

LOOK_SECONDS = 1.0
"""A look takes no longer than this, whatever the other side does."""

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client opens HTTP/2: the magic words, and empty SETTINGS."""
_SETTINGS = 4
_FRAME_BYTES = 9
_PIPE_BYTES_MAX = 1 << 15

_EXPIRED, _NOT_YET = 10, 9
_WRONG_NAME = {62, 64}
"""OpenSSL's X509_V_ERR_*: has expired, not yet valid, host name and address mismatch."""


class Trouble(enum.Enum):
    """What keeps a connection from coming up: what is so, and what a client and a peer do next."""

    NAME_UNKNOWN = (
        "the name {host} does not resolve",
        "check the name, or write the address",
        "check the name in the membership, and this machine's resolver",
    )
    NOBODY_LISTENS = (
        "nothing listens there",
        "is a node running there?",
        "is that node running?",
    )
    NO_ANSWER = (
        "no answer",
        "is that host up, and the port open in the firewall?",
        "is that host up, and the port open in the firewall?",
    )
    HTTP_PORT = (
        "it speaks HTTP/1, not gRPC",
        "give the node's gRPC port (7101 by default); 7201 is its HTTP port",
        "the membership must name that node's gRPC port, not its HTTP port",
    )
    TLS_NEEDED = (
        "it speaks TLS, and plain text was tried",
        "pass --cacert, --cert and --key (cacert=, cert= and key= in Python)",
        "set tls.cacert, tls.cert and tls.key on this node as well",
    )
    TLS_UNSPOKEN = (
        "it speaks plain text, and TLS was tried",
        "leave out --cacert, --cert and --key, or give that node its tls.* settings",
        "give that node its tls.* settings as well",
    )
    NODE_UNTRUSTED = (
        "its certificate is not of the authority trusted here ({detail})",
        "--cacert must name the authority that signed the nodes' certificates",
        "tls.cacert of this node must hold the authority that signed that node's certificate",
    )
    NODE_EXPIRED = (
        "its certificate has expired",
        "replace the files in that node's tls.cert and tls.key; it reads them without a restart",
        "replace the files in that node's tls.cert and tls.key; it reads them without a restart",
    )
    NODE_NOT_YET = (
        "its certificate is not valid yet",
        "compare the clocks of both machines",
        "compare the clocks of both machines",
    )
    NODE_MISNAMED = (
        "its certificate is not for {host} ({detail})",
        "use a name that it has, or make one with this name (`raftlog certs create --host`)",
        "make that node a certificate with this name (`raftlog certs create --host`)",
    )
    CERTIFICATE_WANTED = (
        "it asks for a certificate, and none was shown",
        "pass --cert and --key (cert= and key= in Python)",
        "set tls.cert and tls.key on this node",
    )
    OWN_EXPIRED = (
        "the certificate shown to it has expired",
        "--cert and --key must name a certificate that is valid",
        "replace the files in this node's tls.cert and tls.key; they are read without a restart",
    )
    OWN_REFUSED = (
        "it does not accept the certificate shown to it ({detail})",
        "--cert must be signed by the authority that the nodes trust (their tls.cacert)",
        "this node's tls.cert must be signed by the authority in that node's tls.cacert",
    )
    TLS_FAILED = (
        "the TLS handshake failed ({detail})",
        "check --cacert, --cert and --key",
        "check tls.cacert, tls.cert and tls.key on both nodes",
    )
    NOT_GRPC = (
        "what listens there does not speak gRPC",
        "give a node's gRPC port (7101 by default)",
        "the membership must name that node's gRPC port",
    )

    @property
    def is_refusal(self) -> bool:
        """Whether one side refuses the other; else nobody is there, or nobody that answers."""
        return self not in {Trouble.NAME_UNKNOWN, Trouble.NOBODY_LISTENS, Trouble.NO_ANSWER}

    @property
    def is_ours(self) -> bool:
        """Whether it is this side that refuses."""
        return self in {
            Trouble.NODE_UNTRUSTED,
            Trouble.NODE_EXPIRED,
            Trouble.NODE_NOT_YET,
            Trouble.NODE_MISNAMED,
        }


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one address found."""

    trouble: Trouble
    host: str
    detail: str = ""

    def for_client(self) -> str:
        """Return it in the words of a client: what is so, then what to pass."""
        return f"{self._fact()}: {self.trouble.value[1]}"

    def for_peer(self) -> str:
        """Return it in the words of a node that calls another: what is so, then what to set."""
        return f"{self._fact()}: {self.trouble.value[2]}"

    def _fact(self) -> str:
        template = str(self.trouble.value[0])
        return template.format(host=self.host, detail=self.detail)


async def diagnose(
    address: str, tls: TlsMaterial | None, open_channel: OpenChannel
) -> Finding | None:
    """Look at HOST:PORT, to which a connection just failed; None where gRPC is spoken by now.

    Channels that a simulated world made have no sockets to look at: None as well.
    """
    if open_channel is not wire_channel.open_channel:
        return None
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Finding | None] = loop.create_future()

    def tell(finding: Finding | None) -> None:
        if not found.done():
            found.set_result(finding)

    def run() -> None:
        try:
            finding = look(address, tls)
        except Exception:  # noqa: BLE001 - it was to explain an error, not to make another
            finding = None
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody asks any more
            loop.call_soon_threadsafe(tell, finding)

    # A daemon: a resolver that hangs holds up neither the loop nor the program's end.
    threading.Thread(target=run, name="diagnosis", daemon=True).start()
    try:
        async with asyncio.timeout(LOOK_SECONDS + 0.25):
            return await found
    except TimeoutError:
        return Finding(Trouble.NO_ANSWER, _split(address)[0])


def look(address: str, tls: TlsMaterial | None) -> Finding | None:
    """As `diagnose`, blocking."""
    return _Look(address, tls).run()


class _Look:
    """One look at one address; every wait in it ends at its deadline."""

    def __init__(self, address: str, tls: TlsMaterial | None) -> None:
        self._host, self._port = _split(address)
        self._tls = tls
        self._deadline = time.monotonic() + LOOK_SECONDS

    def run(self) -> Finding | None:
        try:
            if self._tls is None:
                return self._look_plain()
            return self._look_secure(self._tls)
        except socket.gaierror as error:
            return self._found(Trouble.NAME_UNKNOWN, error.strerror or "")
        except ConnectionRefusedError:
            return self._found(Trouble.NOBODY_LISTENS)
        except OSError as error:
            return self._found(Trouble.NO_ANSWER, error.strerror or "")
        except ValueError as error:
            return self._found(Trouble.TLS_FAILED, str(error))

    def _look_plain(self) -> Finding | None:
        first = self._first_plain_bytes()
        if _is_settings(first):
            return None
        if first.startswith(b"HTTP/"):
            return self._found(Trouble.HTTP_PORT)
        return self._found(Trouble.TLS_NEEDED if self._speaks_tls() else Trouble.NOT_GRPC)

    def _look_secure(self, tls: TlsMaterial) -> Finding | None:
        try:
            with self._shake_hands(_context(tls)) as secured:
                secured.sendall(_PREFACE)
                first = _read(secured)
        except ssl.SSLCertVerificationError as error:
            return self._judge_node(error)
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as error:
            return self._judge_failure(error, tls)
        if _is_settings(first):
            return None
        # Over TLS 1.3 a server judges the client's certificate after the client thinks it is done.
        return self._judge_own(tls, "it closed the connection")

    def _judge_node(self, error: ssl.SSLCertVerificationError) -> Finding:
        code, why = error.verify_code, error.verify_message
        if code == _EXPIRED:
            return self._found(Trouble.NODE_EXPIRED)
        if code == _NOT_YET:
            return self._found(Trouble.NODE_NOT_YET)
        if code in _WRONG_NAME:
            return self._found(Trouble.NODE_MISNAMED, f"it names {self._names_shown()}")
        return self._found(Trouble.NODE_UNTRUSTED, why)

    def _judge_failure(self, error: OSError, tls: TlsMaterial) -> Finding | None:
        reason = (getattr(error, "reason", None) or error.strerror or "").upper()
        if "CERTIFICATE_REQUIRED" in reason:
            return self._judge_own(tls, "none came")
        if "ALERT" in reason:
            words = reason.partition("ALERT_")[2] or reason
            return self._judge_own(tls, words.lower().replace("_", " "))
        first = self._first_plain_bytes()
        if _is_settings(first):
            return self._found(Trouble.TLS_UNSPOKEN)
        if first.startswith(b"HTTP/"):
            return self._found(Trouble.HTTP_PORT)
        if self._speaks_tls():
            return self._judge_own(tls, "it closed the connection")
        return self._found(Trouble.NOT_GRPC)

    def _judge_own(self, tls: TlsMaterial, detail: str) -> Finding:
        if tls.cert is None:
            return self._found(Trouble.CERTIFICATE_WANTED)
        if _has_expired(tls.cert):
            return self._found(Trouble.OWN_EXPIRED)
        if "handshake failure" in detail or "protocol" in detail:
            return self._found(Trouble.TLS_FAILED, detail)
        return self._found(Trouble.OWN_REFUSED, detail)

    def _names_shown(self) -> str:
        with self._shake_hands(_unchecked()) as secured:
            return _names_in(secured.getpeercert(binary_form=True) or b"")

    def _speaks_tls(self) -> bool:
        try:
            with self._shake_hands(_unchecked()):
                return True
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "").upper()
        except ConnectionRefusedError:
            raise  # it was there at the first look: its process has just ended
        except ConnectionError:
            return False

    @contextlib.contextmanager
    def _shake_hands(self, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        with (
            self._connect() as plain,
            context.wrap_socket(plain, server_hostname=self._host) as secured,
        ):
            yield secured

    def _first_plain_bytes(self) -> bytes:
        with self._connect() as plain:
            try:
                plain.sendall(_PREFACE)
                return _read(plain)
            except ConnectionError:
                return b""

    def _connect(self) -> socket.socket:
        remaining = max(self._deadline - time.monotonic(), 0.01)
        return socket.create_connection((self._host, self._port), timeout=remaining)

    def _found(self, trouble: Trouble, detail: str = "") -> Finding:
        return Finding(trouble, self._host, detail)


def _read(connection: socket.socket) -> bytes:
    """Return the first bytes that come: a frame's head, or all there is."""
    data = b""
    while len(data) < _FRAME_BYTES:
        more = connection.recv(64)
        if not more:
            break
        data += more
    return data


def _is_settings(first: bytes) -> bool:
    return len(first) >= _FRAME_BYTES and first[3] == _SETTINGS


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _context(tls: TlsMaterial) -> ssl.SSLContext:
    """Return what gRPC would check, as the standard library does it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=tls.ca.decode("ascii", "replace"))
    if tls.cert is not None and tls.key is not None:
        # It takes files only; a pipe keeps the key off the disk.
        with _as_file(tls.cert) as cert, _as_file(tls.key) as key:
            context.load_cert_chain(cert, key, password="")
    return context


def _unchecked() -> ssl.SSLContext:
    """Return what believes anybody: nothing is ever sent on a connection made with it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


@contextlib.contextmanager
def _as_file(data: bytes) -> Iterator[str]:
    reader, writer = os.pipe()
    try:
        try:
            os.write(writer, data[:_PIPE_BYTES_MAX])
        finally:
            os.close(writer)
        yield f"/dev/fd/{reader}"
    finally:
        os.close(reader)


def _names_in(der: bytes) -> str:
    """Return the host names and addresses that a certificate is for."""
    from cryptography import x509  # noqa: PLC0415 - spares those whose connections come up

    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return "nobody"
    hosts = names.get_values_for_type(x509.DNSName)
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return ", ".join((*hosts, *addresses)) or "nobody"


def _has_expired(pem: bytes) -> bool:
    from cryptography import x509  # noqa: PLC0415 - spares those whose connections come up

    return x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc < dt.datetime.now(dt.UTC)
