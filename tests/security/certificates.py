"""Certificates for tests: a development authority's, and such as it would never make."""

from __future__ import annotations

import datetime as dt
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from raftlog.security.tls import load_tls
from raftlog.wire.channel import TlsMaterial


def material(directory: pathlib.Path, name: str) -> TlsMaterial:
    """What `create_certificates` wrote there for `name`."""
    return load_tls(*(str(directory / f) for f in ("ca.crt", f"{name}.crt", f"{name}.key")))


def reissue(directory: pathlib.Path, name: str, *, days: float, host: str = "127.0.0.1") -> None:
    """Give `name` a certificate of the same authority and key that ends in so many days."""
    authority = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
    key = serialization.load_pem_private_key((directory / f"{name}.key").read_bytes(), None)
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    names = [x509.IPAddress(ipaddress.ip_address(host))]
    cert = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - dt.timedelta(days=400))
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(signer, hashes.SHA256())
    )
    (directory / f"{name}.crt").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
