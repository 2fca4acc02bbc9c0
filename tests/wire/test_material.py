"""What PEM bytes can be used, and until when."""

from __future__ import annotations

import dataclasses
import pathlib
import time

import pytest

from raftlog.errors import ConfigInvalid
from raftlog.security.tls import create_certificates
from raftlog.wire.material import check_material, expires_at, serial_number
from tests.security.certificates import material, reissue


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An authority's certificates."""
    directory = tmp_path_factory.mktemp("made")
    create_certificates(directory, ["n1", "n2"])
    return directory


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ca": b"garbage"}, "A is not a certificate in PEM"),
        ({"ca": b""}, "A is not a certificate in PEM"),
        ({"cert": b"garbage"}, "B is not a certificate in PEM"),
        ({"key": b"garbage"}, "C is not a private key in PEM"),
    ],
)
def test_garbage_is_named(made: pathlib.Path, change: dict[str, bytes], why: str) -> None:
    """What cannot be used is refused by the name it was given."""
    good = material(made, "n1")
    check_material(good, "A", "B", "C")
    with pytest.raises(ConfigInvalid, match=why):
        check_material(dataclasses.replace(good, **change), "A", "B", "C")


def test_a_key_belongs_to_its_certificate(made: pathlib.Path) -> None:
    """Another certificate's key is refused."""
    mixed = dataclasses.replace(material(made, "n1"), key=material(made, "n2").key)
    with pytest.raises(ConfigInvalid, match="C is not the key of the certificate in B"):
        check_material(mixed, "A", "B", "C")


def test_the_end_is_the_first_to_come(made: pathlib.Path) -> None:
    """The chain's first end counts, and of several authorities the last."""
    before = serial_number(material(made, "n2"))
    reissue(made, "n2", days=3)
    soon = material(made, "n2")
    assert expires_at(soon) == pytest.approx(time.time() + 3 * 86_400, abs=60)
    assert serial_number(soon) != before
    chain = dataclasses.replace(soon, cert=(material(made, "n1").cert or b"") + (soon.cert or b""))
    assert expires_at(chain) == expires_at(soon)
    two = dataclasses.replace(material(made, "n1"), ca=(soon.cert or b"") + soon.ca)
    assert expires_at(two) == expires_at(material(made, "n1"))
