from raftlog.wire.pb import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KvCommand(_message.Message):
    __slots__ = ("put", "delete", "compare_and_swap", "transaction", "lease_grant", "lease_refresh", "lease_revoke", "lease_expire")
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    COMPARE_AND_SWAP_FIELD_NUMBER: _ClassVar[int]
    TRANSACTION_FIELD_NUMBER: _ClassVar[int]
    LEASE_GRANT_FIELD_NUMBER: _ClassVar[int]
    LEASE_REFRESH_FIELD_NUMBER: _ClassVar[int]
    LEASE_REVOKE_FIELD_NUMBER: _ClassVar[int]
    LEASE_EXPIRE_FIELD_NUMBER: _ClassVar[int]
    put: Put
    delete: Delete
    compare_and_swap: CompareAndSwap
    transaction: Transaction
    lease_grant: LeaseGrant
    lease_refresh: LeaseRefresh
    lease_revoke: LeaseRevoke
    lease_expire: LeaseExpire
    def __init__(self, put: _Optional[_Union[Put, _Mapping]] = ..., delete: _Optional[_Union[Delete, _Mapping]] = ..., compare_and_swap: _Optional[_Union[CompareAndSwap, _Mapping]] = ..., transaction: _Optional[_Union[Transaction, _Mapping]] = ..., lease_grant: _Optional[_Union[LeaseGrant, _Mapping]] = ..., lease_refresh: _Optional[_Union[LeaseRefresh, _Mapping]] = ..., lease_revoke: _Optional[_Union[LeaseRevoke, _Mapping]] = ..., lease_expire: _Optional[_Union[LeaseExpire, _Mapping]] = ...) -> None: ...

class Put(_message.Message):
    __slots__ = ("key", "value", "lease")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    lease: int
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., lease: _Optional[int] = ...) -> None: ...

class Delete(_message.Message):
    __slots__ = ("key", "range_end")
    KEY_FIELD_NUMBER: _ClassVar[int]
    RANGE_END_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    range_end: bytes
    def __init__(self, key: _Optional[bytes] = ..., range_end: _Optional[bytes] = ...) -> None: ...

class CompareAndSwap(_message.Message):
    __slots__ = ("key", "value", "revision", "lease")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    revision: int
    lease: int
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ..., lease: _Optional[int] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("key", "revision", "value", "exists", "revision_below")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_BELOW_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    revision: int
    value: bytes
    exists: bool
    revision_below: int
    def __init__(self, key: _Optional[bytes] = ..., revision: _Optional[int] = ..., value: _Optional[bytes] = ..., exists: _Optional[bool] = ..., revision_below: _Optional[int] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("put", "delete", "get")
    PUT_FIELD_NUMBER: _ClassVar[int]
    DELETE_FIELD_NUMBER: _ClassVar[int]
    GET_FIELD_NUMBER: _ClassVar[int]
    put: Put
    delete: Delete
    get: Get
    def __init__(self, put: _Optional[_Union[Put, _Mapping]] = ..., delete: _Optional[_Union[Delete, _Mapping]] = ..., get: _Optional[_Union[Get, _Mapping]] = ...) -> None: ...

class Transaction(_message.Message):
    __slots__ = ("when", "then", "otherwise")
    WHEN_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    OTHERWISE_FIELD_NUMBER: _ClassVar[int]
    when: _containers.RepeatedCompositeFieldContainer[Condition]
    then: _containers.RepeatedCompositeFieldContainer[Operation]
    otherwise: _containers.RepeatedCompositeFieldContainer[Operation]
    def __init__(self, when: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ..., then: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., otherwise: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ...) -> None: ...

class LeaseGrant(_message.Message):
    __slots__ = ("ttl_seconds",)
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ttl_seconds: float
    def __init__(self, ttl_seconds: _Optional[float] = ...) -> None: ...

class LeaseRefresh(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: int
    def __init__(self, lease: _Optional[int] = ...) -> None: ...

class LeaseRevoke(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: int
    def __init__(self, lease: _Optional[int] = ...) -> None: ...

class LeaseExpire(_message.Message):
    __slots__ = ("lease", "refreshed")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REFRESHED_FIELD_NUMBER: _ClassVar[int]
    lease: int
    refreshed: int
    def __init__(self, lease: _Optional[int] = ..., refreshed: _Optional[int] = ...) -> None: ...

class KeyValue(_message.Message):
    __slots__ = ("key", "value", "revision", "created", "version", "lease")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    revision: int
    created: int
    version: int
    lease: int
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ..., created: _Optional[int] = ..., version: _Optional[int] = ..., lease: _Optional[int] = ...) -> None: ...

class KvResult(_message.Message):
    __slots__ = ("succeeded", "deleted", "current", "results", "lease", "ttl_seconds")
    SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    succeeded: bool
    deleted: int
    current: KeyValue
    results: _containers.RepeatedCompositeFieldContainer[OperationResult]
    lease: int
    ttl_seconds: float
    def __init__(self, succeeded: _Optional[bool] = ..., deleted: _Optional[int] = ..., current: _Optional[_Union[KeyValue, _Mapping]] = ..., results: _Optional[_Iterable[_Union[OperationResult, _Mapping]]] = ..., lease: _Optional[int] = ..., ttl_seconds: _Optional[float] = ...) -> None: ...

class OperationResult(_message.Message):
    __slots__ = ("deleted", "key_value", "found")
    DELETED_FIELD_NUMBER: _ClassVar[int]
    KEY_VALUE_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    deleted: int
    key_value: KeyValue
    found: bool
    def __init__(self, deleted: _Optional[int] = ..., key_value: _Optional[_Union[KeyValue, _Mapping]] = ..., found: _Optional[bool] = ...) -> None: ...

class Get(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    def __init__(self, key: _Optional[bytes] = ...) -> None: ...

class Range(_message.Message):
    __slots__ = ("start", "end", "limit", "reverse", "keys_only", "count_only")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REVERSE_FIELD_NUMBER: _ClassVar[int]
    KEYS_ONLY_FIELD_NUMBER: _ClassVar[int]
    COUNT_ONLY_FIELD_NUMBER: _ClassVar[int]
    start: bytes
    end: bytes
    limit: int
    reverse: bool
    keys_only: bool
    count_only: bool
    def __init__(self, start: _Optional[bytes] = ..., end: _Optional[bytes] = ..., limit: _Optional[int] = ..., reverse: _Optional[bool] = ..., keys_only: _Optional[bool] = ..., count_only: _Optional[bool] = ...) -> None: ...

class LeaseInfo(_message.Message):
    __slots__ = ("lease",)
    LEASE_FIELD_NUMBER: _ClassVar[int]
    lease: int
    def __init__(self, lease: _Optional[int] = ...) -> None: ...

class LeaseList(_message.Message):
    __slots__ = ("after", "limit")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    after: int
    limit: int
    def __init__(self, after: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class KvQuery(_message.Message):
    __slots__ = ("get", "range", "lease", "leases")
    GET_FIELD_NUMBER: _ClassVar[int]
    RANGE_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    get: Get
    range: Range
    lease: LeaseInfo
    leases: LeaseList
    def __init__(self, get: _Optional[_Union[Get, _Mapping]] = ..., range: _Optional[_Union[Range, _Mapping]] = ..., lease: _Optional[_Union[LeaseInfo, _Mapping]] = ..., leases: _Optional[_Union[LeaseList, _Mapping]] = ...) -> None: ...

class KvQueryRequest(_message.Message):
    __slots__ = ("query", "consistency")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    query: KvQuery
    consistency: _types_pb2.Consistency
    def __init__(self, query: _Optional[_Union[KvQuery, _Mapping]] = ..., consistency: _Optional[_Union[_types_pb2.Consistency, str]] = ...) -> None: ...

class KvQueryReply(_message.Message):
    __slots__ = ("answer", "served_by")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    answer: KvAnswer
    served_by: str
    def __init__(self, answer: _Optional[_Union[KvAnswer, _Mapping]] = ..., served_by: _Optional[str] = ...) -> None: ...

class KvAnswer(_message.Message):
    __slots__ = ("found", "key_values", "more", "count", "ttl_seconds", "lease_keys", "leases")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    KEY_VALUES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_KEYS_FIELD_NUMBER: _ClassVar[int]
    LEASES_FIELD_NUMBER: _ClassVar[int]
    found: bool
    key_values: _containers.RepeatedCompositeFieldContainer[KeyValue]
    more: bool
    count: int
    ttl_seconds: float
    lease_keys: _containers.RepeatedScalarFieldContainer[bytes]
    leases: _containers.RepeatedCompositeFieldContainer[LeaseStatus]
    def __init__(self, found: _Optional[bool] = ..., key_values: _Optional[_Iterable[_Union[KeyValue, _Mapping]]] = ..., more: _Optional[bool] = ..., count: _Optional[int] = ..., ttl_seconds: _Optional[float] = ..., lease_keys: _Optional[_Iterable[bytes]] = ..., leases: _Optional[_Iterable[_Union[LeaseStatus, _Mapping]]] = ...) -> None: ...

class LeaseStatus(_message.Message):
    __slots__ = ("lease", "ttl_seconds", "left_seconds", "key_count")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LEFT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KEY_COUNT_FIELD_NUMBER: _ClassVar[int]
    lease: int
    ttl_seconds: float
    left_seconds: float
    key_count: int
    def __init__(self, lease: _Optional[int] = ..., ttl_seconds: _Optional[float] = ..., left_seconds: _Optional[float] = ..., key_count: _Optional[int] = ...) -> None: ...

class KvWatchRequest(_message.Message):
    __slots__ = ("start", "end", "after_revision", "from_now")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    AFTER_REVISION_FIELD_NUMBER: _ClassVar[int]
    FROM_NOW_FIELD_NUMBER: _ClassVar[int]
    start: bytes
    end: bytes
    after_revision: int
    from_now: bool
    def __init__(self, start: _Optional[bytes] = ..., end: _Optional[bytes] = ..., after_revision: _Optional[int] = ..., from_now: _Optional[bool] = ...) -> None: ...

class KvWatchReply(_message.Message):
    __slots__ = ("events", "position", "served_by", "beat_ms")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    BEAT_MS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[KvEvent]
    position: int
    served_by: str
    beat_ms: int
    def __init__(self, events: _Optional[_Iterable[_Union[KvEvent, _Mapping]]] = ..., position: _Optional[int] = ..., served_by: _Optional[str] = ..., beat_ms: _Optional[int] = ...) -> None: ...

class KvEvent(_message.Message):
    __slots__ = ("kind", "key", "value", "revision", "previous", "value_omitted", "previous_omitted")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PUT: _ClassVar[KvEvent.Kind]
        DELETE: _ClassVar[KvEvent.Kind]
    PUT: KvEvent.Kind
    DELETE: KvEvent.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    VALUE_OMITTED_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_OMITTED_FIELD_NUMBER: _ClassVar[int]
    kind: KvEvent.Kind
    key: bytes
    value: bytes
    revision: int
    previous: KeyValue
    value_omitted: bool
    previous_omitted: bool
    def __init__(self, kind: _Optional[_Union[KvEvent.Kind, str]] = ..., key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., revision: _Optional[int] = ..., previous: _Optional[_Union[KeyValue, _Mapping]] = ..., value_omitted: _Optional[bool] = ..., previous_omitted: _Optional[bool] = ...) -> None: ...
