"""Why nobody could be reached, put together from what was found out at each address."""

from __future__ import annotations

from collections.abc import Mapping

from raftlog.errors import ConnectFailed
from raftlog.wire.diagnosis import Finding, Trouble


def explained(
    error: ConnectFailed, findings: Mapping[str, Finding | None], addresses: tuple[str, ...]
) -> ConnectFailed:
    """Return the error with what was found out at each address."""
    found: dict[str, list[str]] = {}
    for address in addresses:
        finding = findings.get(address)
        if finding is not None:
            found.setdefault(finding.for_client(), []).append(address)
            error.is_explained |= finding.trouble is not Trouble.NOBODY_LISTENS
    if not found:
        return error
    parts = [
        sentence
        if len(found) == 1 and len(each) == len(addresses)
        else f"{', '.join(each)}: {sentence}"
        for sentence, each in found.items()
    ]
    said = ConnectFailed(f"{error.message}; " + "; ".join(parts), definite=error.definite)
    said.is_explained = error.is_explained
    return said
