"""TLS: credentials from PEM files, and a development authority.

`create_certificates` is for trying things out and for the compose file: it writes an authority's
key beside the certificates it signs, which a production authority never would. What it makes for a
node named ``n1`` carries the URI name ``raftlog://node/n1``, which is what lets it speak as that
member (`policy.CertificateUris`), and for TLS itself the host names ``n1`` and ``localhost`` and
the loopback addresses. A client's certificate carries the URI of its role instead, an operator's
unless it is told otherwise: ``raftlog://role/operator``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import ipaddress
import pathlib
import re
from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raftlog.errors import ConfigInvalid
from raftlog.files import make_directory, write_durably
from raftlog.security.policy import NODE_URI_PREFIX, role_uri
from raftlog.types import ClientRole
from raftlog.wire.channel import TlsMaterial
from raftlog.wire.material import check_material

CA_NAME = "ca"
VALID_DAYS = 825
PUBLIC_MODE = 0o644
PUBLIC_DIRECTORY_MODE = 0o755
_LEGAL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_BACKDATE = dt.timedelta(minutes=5)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFiles:
    """The three files a node or client is configured with, all PEM."""

    cacert: pathlib.Path
    cert: pathlib.Path
    key: pathlib.Path


def load_tls(cacert: str, cert: str = "", key: str = "") -> TlsMaterial:
    """Return what these PEM files hold; `cert` and `key` may both be "" for a bare client.

    Raises:
        ConfigInvalid: a file cannot be read, is not PEM, or the key is not the certificate's.
    """
    material = TlsMaterial(
        ca=_read(cacert), cert=_read(cert) if cert else None, key=_read(key) if key else None
    )
    check_material(material, cacert, cert, key)
    return material


def create_certificates(
    directory: pathlib.Path,
    names: Sequence[str],
    *,
    hosts: Sequence[str] = (),
    clients: Sequence[str] = ("client",),
    role: ClientRole | None = ClientRole.OPERATOR,
) -> dict[str, CertificateFiles]:
    """Write a development authority, and a certificate for each node and client, to `directory`.

    An authority that is already there signs again, so that nodes can be added later; certificates
    of the same name are replaced.

    Args:
        directory: Made if it is not there; keys in it are readable by their owner only.
        names: Ids of nodes.
        hosts: Further host names or addresses by which every node is reached.
        clients: Names of clients.
        role: What these clients may do where `tls.roles` is set; None: nothing.

    Raises:
        ConfigInvalid: a name cannot be in a certificate, or the directory cannot be written.
    """
    for name in (*names, *clients):
        if not _LEGAL_NAME.fullmatch(name) or name == CA_NAME:
            raise ConfigInvalid(f"{name!r} cannot name a certificate: use letters, digits, - and .")
    if len({*names, *clients}) != len(names) + len(clients):
        raise ConfigInvalid("the names of nodes and clients must all differ")
    try:
        make_directory(directory, mode=PUBLIC_DIRECTORY_MODE)
        authority = _Authority.open(directory)
        made = {name: authority.issue(name, _node_names(name, hosts)) for name in names}
        made.update((name, authority.issue(name, _client_names(name, role))) for name in clients)
    except OSError as error:
        raise ConfigInvalid(f"cannot write certificates to {directory}: {error}") from None
    return made


class _Authority:
    """The development authority in one directory."""

    def __init__(
        self, directory: pathlib.Path, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self._directory = directory
        self._cert = cert
        self._key = key

    @classmethod
    def open(cls, directory: pathlib.Path) -> _Authority:
        """Return the authority in `directory`, made now if there is none."""
        files = _files(directory, CA_NAME)
        if files.cert.exists() and files.key.exists():
            return cls._load(directory, files)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("raftlog development CA")
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        cert = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        _write(files, cert, key)
        return cls(directory, cert, key)

    @classmethod
    def _load(cls, directory: pathlib.Path, files: CertificateFiles) -> _Authority:
        foreign = f"the authority in {directory} was not made by raftlog certs create"
        try:
            cert = x509.load_pem_x509_certificate(files.cert.read_bytes())
            key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
        except (ValueError, TypeError) as error:
            raise ConfigInvalid(f"{foreign}: {error}") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigInvalid(foreign)
        return cls(directory, cert, key)

    def issue(self, name: str, names: Iterable[x509.GeneralName]) -> CertificateFiles:
        """Make a key and a certificate that serves at both ends of a connection."""
        key = ec.generate_private_key(ec.SECP256R1())
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        cert = (
            _builder(_name(name), self._cert.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        files = _files(self._directory, name)
        _write(files, cert, key)
        return files


def _node_names(name: str, hosts: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(NODE_URI_PREFIX.decode() + name)
    ]
    for host in dict.fromkeys((name, "localhost", "127.0.0.1", "::1", *hosts)):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            found.append(x509.DNSName(host))
    return found


def _client_names(name: str, role: ClientRole | None) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = [x509.DNSName(name)]
    if role is not None:
        found.append(x509.UniformResourceIdentifier(role_uri(role)))
    return found


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _name(value: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)])


def _files(directory: pathlib.Path, name: str) -> CertificateFiles:
    return CertificateFiles(
        cacert=directory / f"{CA_NAME}.crt",
        cert=directory / f"{name}.crt",
        key=directory / f"{name}.key",
    )


def _write(
    files: CertificateFiles, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_durably(files.key, pem)
    public = cert.public_bytes(serialization.Encoding.PEM)
    write_durably(files.cert, public, mode=PUBLIC_MODE)


def _read(path: str) -> bytes:
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"cannot read {path}: {error.strerror or error}") from None
