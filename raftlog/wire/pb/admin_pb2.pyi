from raftlog.wire.pb import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemberStatus(_message.Message):
    __slots__ = ("node_id", "address", "role", "kind", "has_machine", "region", "instance_id", "match_index", "applied_index", "lag_transactions", "last_contact_ms", "reachable", "healthy")
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
    def __init__(self, node_id: _Optional[str] = ..., address: _Optional[str] = ..., role: _Optional[str] = ..., kind: _Optional[str] = ..., has_machine: _Optional[bool] = ..., region: _Optional[str] = ..., instance_id: _Optional[str] = ..., match_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., lag_transactions: _Optional[int] = ..., last_contact_ms: _Optional[float] = ..., reachable: _Optional[bool] = ..., healthy: _Optional[bool] = ...) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("cluster_id", "served_by", "leader", "leader_address", "term", "commit_index", "commit_sequence", "applied_index", "first_sequence", "quorum", "has_quorum", "fault_tolerance", "feature_level", "machine", "members", "alarms", "version")
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
    def __init__(self, cluster_id: _Optional[str] = ..., served_by: _Optional[str] = ..., leader: _Optional[str] = ..., leader_address: _Optional[str] = ..., term: _Optional[int] = ..., commit_index: _Optional[int] = ..., commit_sequence: _Optional[int] = ..., applied_index: _Optional[int] = ..., first_sequence: _Optional[int] = ..., quorum: _Optional[int] = ..., has_quorum: _Optional[bool] = ..., fault_tolerance: _Optional[int] = ..., feature_level: _Optional[int] = ..., machine: _Optional[str] = ..., members: _Optional[_Iterable[_Union[MemberStatus, _Mapping]]] = ..., alarms: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ...) -> None: ...

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

class LeaderReply(_message.Message):
    __slots__ = ("leader", "served_by", "ready", "members", "limits", "gtid_server_id")
    LEADER_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    GTID_SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    leader: _types_pb2.LeaderHint
    served_by: str
    ready: bool
    members: _containers.RepeatedCompositeFieldContainer[MemberAddress]
    limits: Limits
    gtid_server_id: int
    def __init__(self, leader: _Optional[_Union[_types_pb2.LeaderHint, _Mapping]] = ..., served_by: _Optional[str] = ..., ready: _Optional[bool] = ..., members: _Optional[_Iterable[_Union[MemberAddress, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., gtid_server_id: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("to", "timeout_seconds")
    TO_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    to: str
    timeout_seconds: float
    def __init__(self, to: _Optional[str] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class TransferReply(_message.Message):
    __slots__ = ("to",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    to: str
    def __init__(self, to: _Optional[str] = ..., **kwargs) -> None: ...
