"""What the specification says to a step that it does not have."""

from __future__ import annotations


class NotAllowed(Exception):
    """No action of the specification does that; names the action that came nearest, and why not."""

    def __init__(self, action: str, why: str) -> None:
        super().__init__(f"{action}: {why}")
        self.action = action
        self.why = why


def need(condition: object, action: str, why: str) -> None:
    """Refuse unless an action's enabling condition holds."""
    if not condition:
        raise NotAllowed(action, why)
