"""The ports: everything the node needs from outside, as Protocols and plain values.

Adapters implement these and know nothing of each other; `server/compose.py` picks them. They are
few, small and complete, because the simulator implements every one of them again.
"""

from __future__ import annotations

from raftlog.interfaces.alarms import Alarm, Alarms, Raised
from raftlog.interfaces.environment import Authenticator, Clock, Observer, Switches
from raftlog.interfaces.histogram import SECONDS_BUCKETS, Histogram
from raftlog.interfaces.machine import (
    ApplyContext,
    ReadState,
    RoleContext,
    Row,
    Rows,
    State,
    StateMachine,
    rejection_text,
    versions_of,
)
from raftlog.interfaces.members import (
    ORDERS_MAX,
    MemberOrder,
    MembershipOutcome,
    MembershipView,
    MemberVerb,
)
from raftlog.interfaces.node import (
    CampaigningStatus,
    ChangeBatch,
    ChangeFilter,
    GroupReceipt,
    Handover,
    LevelRaise,
    LogInfo,
    MachineUpgrade,
    NodePort,
    Reign,
    Respond,
    Result,
    RowChange,
    StreamInfo,
    TailBatch,
    TailStart,
)
from raftlog.interfaces.observation import Event, Kind, Measure, Severity
from raftlog.interfaces.storage import (
    CONSUMER_PREFIX,
    SCAN_BYTES_MAX,
    Identity,
    LogReader,
    Recovered,
    Round,
    SnapshotInfo,
    SnapshotWriter,
    Storage,
    StreamSpan,
    Table,
    TableReader,
    WriteSet,
)
from raftlog.interfaces.transport import PeerEvents, Transport
from raftlog.status import ClusterStatus, LogEnd, MemberStatus

__all__ = [
    "CONSUMER_PREFIX",
    "ORDERS_MAX",
    "SCAN_BYTES_MAX",
    "SECONDS_BUCKETS",
    "Alarm",
    "Alarms",
    "ApplyContext",
    "Authenticator",
    "CampaigningStatus",
    "ChangeBatch",
    "ChangeFilter",
    "Clock",
    "ClusterStatus",
    "Event",
    "GroupReceipt",
    "Handover",
    "Histogram",
    "Identity",
    "Kind",
    "LevelRaise",
    "LogEnd",
    "LogInfo",
    "LogReader",
    "MachineUpgrade",
    "Measure",
    "MemberOrder",
    "MemberStatus",
    "MemberVerb",
    "MembershipOutcome",
    "MembershipView",
    "NodePort",
    "Observer",
    "PeerEvents",
    "Raised",
    "ReadState",
    "Recovered",
    "Reign",
    "Respond",
    "Result",
    "RoleContext",
    "Round",
    "Row",
    "RowChange",
    "Rows",
    "Severity",
    "SnapshotInfo",
    "SnapshotWriter",
    "State",
    "StateMachine",
    "Storage",
    "StreamInfo",
    "StreamSpan",
    "Switches",
    "Table",
    "TableReader",
    "TailBatch",
    "TailStart",
    "Transport",
    "WriteSet",
    "rejection_text",
    "versions_of",
]
