from raftlog.wire.pb import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemberStatus(_message.Message):
    __slots__ = ("node_id", "address", "role", "kind", "has_machine", "region", "instance_id", "match_index", "applied_index", "lag_transactions", "last_contact_ms", "reachable", "healthy", "promoting", "feature_level_max", "priority", "banned", "waits_for")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    HAS_MACHINE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAG_TRANSACTIONS_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_MS_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    PROMOTING_FIELD_NUMBER: _ClassVar[int]
    FEATURE_LEVEL_MAX_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    BANNED_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    address: str
    role: str
    kind: str
    has_machine: bool
    region: str
    instance_id: str
    match_index: int
    applied_index: int
    lag_transactions: int
    last_contact_ms: float
    reachable: bool
    healthy: bool
    promoting: bool
    feature_level_max: int
    priority: int
    banned: bool
    waits_for: str
    def __init__(self, node_id: _Optional[str] = ..., address: _Optional[str] = ..., role: _Optional[str] = ..., kind: _Optional[str] = ..., has_machine: _Optional[bool] = ..., region: _Optional[str] = ..., instance_id: _Optional[str] = ..., match_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., lag_transactions: _Optional[int] = ..., last_contact_ms: _Optional[float] = ..., reachable: _Optional[bool] = ..., healthy: _Optional[bool] = ..., promoting: _Optional[bool] = ..., feature_level_max: _Optional[int] = ..., priority: _Optional[int] = ..., banned: _Optional[bool] = ..., waits_for: _Optional[str] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("cluster_id", "served_by", "leader", "leader_address", "term", "commit_index", "commit_sequence", "applied_index", "first_sequence", "quorum", "has_quorum", "fault_tolerance", "feature_level", "machine", "members", "alarms", "version", "membership_version", "is_joint", "consumers")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    LEADER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    HAS_QUORUM_FIELD_NUMBER: _ClassVar[int]
    FAULT_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    FEATURE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_JOINT_FIELD_NUMBER: _ClassVar[int]
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    served_by: str
    leader: str
    leader_address: str
    term: int
    commit_index: int
    commit_sequence: int
    applied_index: int
    first_sequence: int
    quorum: int
    has_quorum: bool
    fault_tolerance: int
    feature_level: int
    machine: str
    members: _containers.RepeatedCompositeFieldContainer[MemberStatus]
    alarms: _containers.RepeatedScalarFieldContainer[str]
    version: str
    membership_version: int
    is_joint: bool
    consumers: _containers.RepeatedCompositeFieldContainer[_types_pb2.ConsumerStatus]
    def __init__(self, cluster_id: _Optional[str] = ..., served_by: _Optional[str] = ..., leader: _Optional[str] = ..., leader_address: _Optional[str] = ..., term: _Optional[int] = ..., commit_index: _Optional[int] = ..., commit_sequence: _Optional[int] = ..., applied_index: _Optional[int] = ..., first_sequence: _Optional[int] = ..., quorum: _Optional[int] = ..., has_quorum: _Optional[bool] = ..., fault_tolerance: _Optional[int] = ..., feature_level: _Optional[int] = ..., machine: _Optional[str] = ..., members: _Optional[_Iterable[_Union[MemberStatus, _Mapping]]] = ..., alarms: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ..., membership_version: _Optional[int] = ..., is_joint: _Optional[bool] = ..., consumers: _Optional[_Iterable[_Union[_types_pb2.ConsumerStatus, _Mapping]]] = ...) -> None: ...

class SettingsReply(_message.Message):
    __slots__ = ("served_by", "settings")
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    served_by: str
    settings: _containers.RepeatedCompositeFieldContainer[Setting]
    def __init__(self, served_by: _Optional[str] = ..., settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("key", "value_json", "source", "meaning")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_JSON_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    key: str
    value_json: str
    source: str
    meaning: str
    def __init__(self, key: _Optional[str] = ..., value_json: _Optional[str] = ..., source: _Optional[str] = ..., meaning: _Optional[str] = ...) -> None: ...

class DiagnosticsReply(_message.Message):
    __slots__ = ("served_by", "files")
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    served_by: str
    files: _containers.RepeatedCompositeFieldContainer[DiagnosticsFile]
    def __init__(self, served_by: _Optional[str] = ..., files: _Optional[_Iterable[_Union[DiagnosticsFile, _Mapping]]] = ...) -> None: ...

class DiagnosticsFile(_message.Message):
    __slots__ = ("name", "text", "cut")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    cut: bool
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., cut: _Optional[bool] = ...) -> None: ...

class LogEndReply(_message.Message):
    __slots__ = ("cluster_id", "served_by", "kind", "voters", "outgoing", "last_term", "last_index", "last_sequence", "last_timestamp", "commit_index", "commit_sequence", "problems")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    OUTGOING_FIELD_NUMBER: _ClassVar[int]
    LAST_TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    served_by: str
    kind: str
    voters: _containers.RepeatedScalarFieldContainer[str]
    outgoing: _containers.RepeatedScalarFieldContainer[str]
    last_term: int
    last_index: int
    last_sequence: int
    last_timestamp: int
    commit_index: int
    commit_sequence: int
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cluster_id: _Optional[str] = ..., served_by: _Optional[str] = ..., kind: _Optional[str] = ..., voters: _Optional[_Iterable[str]] = ..., outgoing: _Optional[_Iterable[str]] = ..., last_term: _Optional[int] = ..., last_index: _Optional[int] = ..., last_sequence: _Optional[int] = ..., last_timestamp: _Optional[int] = ..., commit_index: _Optional[int] = ..., commit_sequence: _Optional[int] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...

class LeaderReply(_message.Message):
    __slots__ = ("leader", "served_by", "ready", "members", "limits", "gtid_server_id", "cluster_id")
    LEADER_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    GTID_SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    leader: _types_pb2.LeaderHint
    served_by: str
    ready: bool
    members: _containers.RepeatedCompositeFieldContainer[MemberAddress]
    limits: Limits
    gtid_server_id: int
    cluster_id: str
    def __init__(self, leader: _Optional[_Union[_types_pb2.LeaderHint, _Mapping]] = ..., served_by: _Optional[str] = ..., ready: _Optional[bool] = ..., members: _Optional[_Iterable[_Union[MemberAddress, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., gtid_server_id: _Optional[int] = ..., cluster_id: _Optional[str] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("transaction_bytes_max", "group_bytes_max")
    TRANSACTION_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    GROUP_BYTES_MAX_FIELD_NUMBER: _ClassVar[int]
    transaction_bytes_max: int
    group_bytes_max: int
    def __init__(self, transaction_bytes_max: _Optional[int] = ..., group_bytes_max: _Optional[int] = ...) -> None: ...

class MemberAddress(_message.Message):
    __slots__ = ("node_id", "address")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    address: str
    def __init__(self, node_id: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class TransferRequest(_message.Message):
    __slots__ = ("to", "timeout_seconds", "mock")
    TO_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MOCK_FIELD_NUMBER: _ClassVar[int]
    to: str
    timeout_seconds: float
    mock: bool
    def __init__(self, to: _Optional[str] = ..., timeout_seconds: _Optional[float] = ..., mock: _Optional[bool] = ...) -> None: ...

class TransferReply(_message.Message):
    __slots__ = ("to", "mock_seconds", "term")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    MOCK_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    to: str
    mock_seconds: float
    term: int
    def __init__(self, to: _Optional[str] = ..., mock_seconds: _Optional[float] = ..., term: _Optional[int] = ..., **kwargs) -> None: ...

class CancelTransferReply(_message.Message):
    __slots__ = ("outcome",)
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[CancelTransferReply.Outcome]
        OUTCOME_NOTHING: _ClassVar[CancelTransferReply.Outcome]
        OUTCOME_CERTAINLY: _ClassVar[CancelTransferReply.Outcome]
        OUTCOME_TOO_LATE: _ClassVar[CancelTransferReply.Outcome]
    OUTCOME_UNSPECIFIED: CancelTransferReply.Outcome
    OUTCOME_NOTHING: CancelTransferReply.Outcome
    OUTCOME_CERTAINLY: CancelTransferReply.Outcome
    OUTCOME_TOO_LATE: CancelTransferReply.Outcome
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: CancelTransferReply.Outcome
    def __init__(self, outcome: _Optional[_Union[CancelTransferReply.Outcome, str]] = ...) -> None: ...

class Reign(_message.Message):
    __slots__ = ("term", "leader", "told_by", "previous", "why", "began_at", "election_seconds", "noop_seconds", "on_promote_seconds", "gap_seconds", "ended_at", "ended_why")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TOLD_BY_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    BEGAN_AT_FIELD_NUMBER: _ClassVar[int]
    ELECTION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NOOP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ON_PROMOTE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    GAP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_WHY_FIELD_NUMBER: _ClassVar[int]
    term: int
    leader: str
    told_by: str
    previous: str
    why: str
    began_at: float
    election_seconds: float
    noop_seconds: float
    on_promote_seconds: float
    gap_seconds: float
    ended_at: float
    ended_why: str
    def __init__(self, term: _Optional[int] = ..., leader: _Optional[str] = ..., told_by: _Optional[str] = ..., previous: _Optional[str] = ..., why: _Optional[str] = ..., began_at: _Optional[float] = ..., election_seconds: _Optional[float] = ..., noop_seconds: _Optional[float] = ..., on_promote_seconds: _Optional[float] = ..., gap_seconds: _Optional[float] = ..., ended_at: _Optional[float] = ..., ended_why: _Optional[str] = ...) -> None: ...

class ReignsReply(_message.Message):
    __slots__ = ("served_by", "reigns")
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    REIGNS_FIELD_NUMBER: _ClassVar[int]
    served_by: str
    reigns: _containers.RepeatedCompositeFieldContainer[Reign]
    def __init__(self, served_by: _Optional[str] = ..., reigns: _Optional[_Iterable[_Union[Reign, _Mapping]]] = ...) -> None: ...

class PauseElectionsRequest(_message.Message):
    __slots__ = ("seconds",)
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    def __init__(self, seconds: _Optional[float] = ...) -> None: ...

class SetCampaigningRequest(_message.Message):
    __slots__ = ("may_campaign",)
    MAY_CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    may_campaign: bool
    def __init__(self, may_campaign: _Optional[bool] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("drained", "timeout_seconds")
    DRAINED_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    drained: bool
    timeout_seconds: float
    def __init__(self, drained: _Optional[bool] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class CampaigningReply(_message.Message):
    __slots__ = ("served_by", "paused_seconds", "no_campaign", "drained", "leads", "why")
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    PAUSED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    NO_CAMPAIGN_FIELD_NUMBER: _ClassVar[int]
    DRAINED_FIELD_NUMBER: _ClassVar[int]
    LEADS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    served_by: str
    paused_seconds: float
    no_campaign: bool
    drained: bool
    leads: bool
    why: str
    def __init__(self, served_by: _Optional[str] = ..., paused_seconds: _Optional[float] = ..., no_campaign: _Optional[bool] = ..., drained: _Optional[bool] = ..., leads: _Optional[bool] = ..., why: _Optional[str] = ...) -> None: ...

class MemberOrder(_message.Message):
    __slots__ = ("verb", "node_id", "address", "region", "has_machine", "promote", "instance_id", "priority", "banned")
    VERB_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    HAS_MACHINE_FIELD_NUMBER: _ClassVar[int]
    PROMOTE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    BANNED_FIELD_NUMBER: _ClassVar[int]
    verb: str
    node_id: str
    address: str
    region: str
    has_machine: bool
    promote: bool
    instance_id: str
    priority: int
    banned: bool
    def __init__(self, verb: _Optional[str] = ..., node_id: _Optional[str] = ..., address: _Optional[str] = ..., region: _Optional[str] = ..., has_machine: _Optional[bool] = ..., promote: _Optional[bool] = ..., instance_id: _Optional[str] = ..., priority: _Optional[int] = ..., banned: _Optional[bool] = ...) -> None: ...

class ChangeMembersRequest(_message.Message):
    __slots__ = ("orders", "version", "dry_run", "force", "timeout_seconds")
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    orders: _containers.RepeatedCompositeFieldContainer[MemberOrder]
    version: int
    dry_run: bool
    force: bool
    timeout_seconds: float
    def __init__(self, orders: _Optional[_Iterable[_Union[MemberOrder, _Mapping]]] = ..., version: _Optional[int] = ..., dry_run: _Optional[bool] = ..., force: _Optional[bool] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class MembershipView(_message.Message):
    __slots__ = ("voters", "learners", "quorum", "fault_tolerance")
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    FAULT_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    voters: _containers.RepeatedScalarFieldContainer[str]
    learners: _containers.RepeatedScalarFieldContainer[str]
    quorum: int
    fault_tolerance: int
    def __init__(self, voters: _Optional[_Iterable[str]] = ..., learners: _Optional[_Iterable[str]] = ..., quorum: _Optional[int] = ..., fault_tolerance: _Optional[int] = ...) -> None: ...

class ChangeMembersReply(_message.Message):
    __slots__ = ("before", "after", "version", "changed", "allowed", "why")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    before: MembershipView
    after: MembershipView
    version: int
    changed: bool
    allowed: bool
    why: str
    def __init__(self, before: _Optional[_Union[MembershipView, _Mapping]] = ..., after: _Optional[_Union[MembershipView, _Mapping]] = ..., version: _Optional[int] = ..., changed: _Optional[bool] = ..., allowed: _Optional[bool] = ..., why: _Optional[str] = ...) -> None: ...

class OriginReply(_message.Message):
    __slots__ = ("cluster_id", "served_by", "membership", "checksum", "feature_level", "machine_name", "machine_version", "feature_level_in_force", "predecessors")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    FEATURE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    MACHINE_NAME_FIELD_NUMBER: _ClassVar[int]
    MACHINE_VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURE_LEVEL_IN_FORCE_FIELD_NUMBER: _ClassVar[int]
    PREDECESSORS_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    served_by: str
    membership: bytes
    checksum: int
    feature_level: int
    machine_name: str
    machine_version: int
    feature_level_in_force: int
    predecessors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cluster_id: _Optional[str] = ..., served_by: _Optional[str] = ..., membership: _Optional[bytes] = ..., checksum: _Optional[int] = ..., feature_level: _Optional[int] = ..., machine_name: _Optional[str] = ..., machine_version: _Optional[int] = ..., feature_level_in_force: _Optional[int] = ..., predecessors: _Optional[_Iterable[str]] = ...) -> None: ...

class UpgradeClusterRequest(_message.Message):
    __slots__ = ("level", "dry_run", "timeout_seconds")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    level: int
    dry_run: bool
    timeout_seconds: float
    def __init__(self, level: _Optional[int] = ..., dry_run: _Optional[bool] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class UpgradeClusterReply(_message.Message):
    __slots__ = ("before", "level", "raised", "index", "members")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    RAISED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    before: int
    level: int
    raised: bool
    index: int
    members: _containers.RepeatedCompositeFieldContainer[MemberLevel]
    def __init__(self, before: _Optional[int] = ..., level: _Optional[int] = ..., raised: _Optional[bool] = ..., index: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MemberLevel, _Mapping]]] = ...) -> None: ...

class MemberLevel(_message.Message):
    __slots__ = ("node_id", "feature_level_max")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_LEVEL_MAX_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    feature_level_max: int
    def __init__(self, node_id: _Optional[str] = ..., feature_level_max: _Optional[int] = ...) -> None: ...

class AlarmsReply(_message.Message):
    __slots__ = ("served_by", "alarms")
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    ALARMS_FIELD_NUMBER: _ClassVar[int]
    served_by: str
    alarms: _containers.RepeatedCompositeFieldContainer[RaisedAlarm]
    def __init__(self, served_by: _Optional[str] = ..., alarms: _Optional[_Iterable[_Union[RaisedAlarm, _Mapping]]] = ...) -> None: ...

class RaisedAlarm(_message.Message):
    __slots__ = ("alarm", "about", "severity", "since", "why", "meaning", "advice")
    ALARM_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    alarm: str
    about: str
    severity: str
    since: int
    why: str
    meaning: str
    advice: str
    def __init__(self, alarm: _Optional[str] = ..., about: _Optional[str] = ..., severity: _Optional[str] = ..., since: _Optional[int] = ..., why: _Optional[str] = ..., meaning: _Optional[str] = ..., advice: _Optional[str] = ...) -> None: ...

class SnapshotsReply(_message.Message):
    __slots__ = ("served_by", "snapshots", "taking_bytes")
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOTS_FIELD_NUMBER: _ClassVar[int]
    TAKING_BYTES_FIELD_NUMBER: _ClassVar[int]
    served_by: str
    snapshots: _containers.RepeatedCompositeFieldContainer[Snapshot]
    taking_bytes: int
    def __init__(self, served_by: _Optional[str] = ..., snapshots: _Optional[_Iterable[_Union[Snapshot, _Mapping]]] = ..., taking_bytes: _Optional[int] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("snapshot_id", "index", "term", "last_sequence", "size_bytes", "created")
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    snapshot_id: str
    index: int
    term: int
    last_sequence: int
    size_bytes: int
    created: int
    def __init__(self, snapshot_id: _Optional[str] = ..., index: _Optional[int] = ..., term: _Optional[int] = ..., last_sequence: _Optional[int] = ..., size_bytes: _Optional[int] = ..., created: _Optional[int] = ...) -> None: ...
