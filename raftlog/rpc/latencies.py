"""How long calls take as clients see it, but for the network: by method, and of appends in streams.

There is one histogram for each method that answers once, and one for the groups that come in write
streams; none for a client, so that many clients cost no more than one.
"""

from __future__ import annotations

from raftlog.interfaces import Histogram


class Latencies:
    """The histograms of one server."""

    def __init__(self) -> None:
        self.methods: dict[str, Histogram] = {}
        """By ``Service/Method``; a call that fails counts too."""
        self.appends = Histogram()
        """From a group's arrival in a write stream to its answer."""

    def of(self, service: str, call: str) -> Histogram:
        """Return the histogram of the method that the function `call` of a service serves."""
        method = "".join(word.title() for word in call.split("_"))
        return self.methods.setdefault(f"{service.rpartition('.')[2]}/{method}", Histogram())
