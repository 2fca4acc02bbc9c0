"""Whose endpoints these are: a client keeps to one cluster (decision 37).

The id is given, or learned at the first connection. From then on every call carries it
(`CLUSTER_KEY`), and a server of another cluster refuses the call before it does anything. So an
address that another cluster uses now, or a restored cluster beside the one that runs, is never
written to by mistake: it is looked past, and named in the error if nobody else answers. Among
endpoints of several clusters the one that has a leader is meant; a lone node that was started with
another cluster's identity in a member's place keeps nobody from the cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import grpc

from raftlog.errors import WrongCluster
from raftlog.wire.status import CLUSTER_KEY

Label = tuple[tuple[str, str], ...]


class Whose:
    """Which cluster is meant, and which one answered at each address."""

    def __init__(self, cluster_id: str | None = None) -> None:
        self.cluster_id = cluster_id
        """The cluster that is meant; None until one is given or learned."""
        self._is_given = cluster_id is not None
        self._said: dict[str, str] = {}
        self._led: set[str] = set()

    def belongs(self, address: str, cluster_id: str, *, is_led: bool) -> bool:
        """Take which cluster answered there, and whether with a leader.

        Returns whether it may be the one that is meant. A server that is too old to say so is
        believed.
        """
        if not cluster_id:
            return True
        self._said[address] = cluster_id
        if is_led:
            self._led.add(cluster_id)
        return self.cluster_id in {None, cluster_id}

    def settle(self) -> None:
        """Keep to the cluster that answered, if none is meant yet.

        Raises:
            WrongCluster: several answered, not one of them alone with a leader, and nobody said
                which one is meant.
        """
        self.check()
        if self.cluster_id is None and self._said:
            (self.cluster_id,) = self._candidates

    def is_foreign(self, address: str) -> bool:
        """Whether another cluster answered there than the one that is meant."""
        return self._said.get(address, self.cluster_id) != self.cluster_id

    @property
    def _candidates(self) -> set[str]:
        said = set(self._said.values())
        return said & self._led or said

    def check(self) -> None:
        """Raise `WrongCluster` if several might be meant, and nobody said which."""
        if self.cluster_id is None and len(self._candidates) > 1:
            raise WrongCluster(
                f"the endpoints belong to different clusters: {_listed(self._said)}; name those of "
                "one cluster only, or say which one is meant (--cluster-id, cluster_id=)"
            )

    def refusal(self, addresses: Iterable[str]) -> WrongCluster | None:
        """Return the error if another cluster than the one that is meant answered there."""
        asked = set(addresses)
        others = {
            address: said
            for address, said in self._said.items()
            if address in asked and said != self.cluster_id
        }
        if self.cluster_id is None or not others:
            return None
        how = "as it was told" if self._is_given else "as it learned at its first connection"
        return WrongCluster(
            f"another cluster answers: {_listed(others)}; this client keeps to the cluster "
            f"{self.cluster_id}, {how}, and nothing was sent to the other: correct the endpoints, "
            "or open a new client for the other cluster"
        )

    def is_elsewhere(self, addresses: Iterable[str]) -> bool:
        """Whether every one of these addresses is another cluster's by now."""
        known = {self.cluster_id, None}
        return self.cluster_id is not None and all(
            self._said.get(address) not in known for address in addresses
        )

    @property
    def label(self) -> Label | None:
        """Return what every call carries, once the cluster is known."""
        return None if self.cluster_id is None else ((CLUSTER_KEY, self.cluster_id),)


def _listed(said: dict[str, str]) -> str:
    return ", ".join(f"{address} is of {cluster}" for address, cluster in sorted(said.items()))


class LabelledChannel:
    """A channel whose calls name the cluster that they are meant for."""

    def __init__(self, channel: grpc.aio.Channel, label: Callable[[], Label | None]) -> None:
        self._channel = channel
        self._label = label

    def unary_unary(self, *method: Any, **codec: Any) -> Callable[..., Any]:
        """Return what makes calls of one request and one reply."""
        return self._labelled(self._channel.unary_unary(*method, **codec))

    def unary_stream(self, *method: Any, **codec: Any) -> Callable[..., Any]:
        """Return what makes calls of one request and many replies."""
        return self._labelled(self._channel.unary_stream(*method, **codec))

    def stream_stream(self, *method: Any, **codec: Any) -> Callable[..., Any]:
        """Return what makes calls with streams both ways."""
        return self._labelled(self._channel.stream_stream(*method, **codec))

    def _labelled(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def labelled(*request: Any, timeout: float | None = None) -> Any:
            return call(*request, timeout=timeout, metadata=self._label())

        return labelled
