"""What became of a seed, in either engine."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one seed. `digest` hashes every event; `failure` names the property broken."""

    seed: int
    digest: str
    events: int
    virtual_seconds: float
    cpu_seconds: float
    counters: dict[str, int]
    failure: str | None = None
    detail: str = ""
    faults: tuple[int, ...] = ()
    transcript: tuple[str, ...] = ()
