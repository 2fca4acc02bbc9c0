"""What is in a certificate and a key: whether they can be used, and until when."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from raftlog.errors import ConfigInvalid
from raftlog.wire.channel import TlsMaterial


def check_material(
    material: TlsMaterial,
    cacert: str = "the authority's certificate",
    cert: str = "the certificate given",
    key: str = "the key given",
) -> None:
    """Raise `ConfigInvalid` unless this can be used; it calls the parts by the names given."""
    _certificates(material.ca, cacert)
    if material.cert is None or material.key is None:
        return
    public = _certificates(material.cert, cert)[0].public_key()
    try:
        private = serialization.load_pem_private_key(material.key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigInvalid(f"{key} is not a private key in PEM without password") from None
    if _public_bytes(private.public_key()) != _public_bytes(public):
        raise ConfigInvalid(f"{key} is not the key of the certificate in {cert}")


def expires_at(material: TlsMaterial) -> float:
    """Return when the material ends, in Unix time: the first of the chain, or the last authority.

    A file of authorities may hold old ones beside the new.
    """

    def ends(pem: bytes) -> list[float]:
        return [one.not_valid_after_utc.timestamp() for one in x509.load_pem_x509_certificates(pem)]

    return min(max(ends(material.ca)), *ends(material.cert or material.ca))


def serial_number(material: TlsMaterial) -> str:
    """Return the serial number of the certificate shown, in hexadecimal as `openssl` has it."""
    return f"{x509.load_pem_x509_certificates(material.cert or material.ca)[0].serial_number:X}"


def _certificates(pem: bytes, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ConfigInvalid(f"{name} is not a certificate in PEM") from None


def _public_bytes(public: object) -> bytes:
    encode = getattr(public, "public_bytes", None)
    if encode is None:
        raise ConfigInvalid("the certificate's kind of key is not supported")
    encoded = encode(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return bytes(encoded)
