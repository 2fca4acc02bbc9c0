from raftlog.wire.pb import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AppendOne(_message.Message):
    __slots__ = ("payload", "stream")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    stream: str
    def __init__(self, payload: _Optional[bytes] = ..., stream: _Optional[str] = ...) -> None: ...

class AppendReceipt(_message.Message):
    __slots__ = ("sequence", "term", "index", "gtid")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    GTID_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    term: int
    index: int
    gtid: str
    def __init__(self, sequence: _Optional[int] = ..., term: _Optional[int] = ..., index: _Optional[int] = ..., gtid: _Optional[str] = ...) -> None: ...

class OpenSessionReply(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: int
    def __init__(self, session: _Optional[int] = ...) -> None: ...

class CloseSessionRequest(_message.Message):
    __slots__ = ("session",)
    SESSION_FIELD_NUMBER: _ClassVar[int]
    session: int
    def __init__(self, session: _Optional[int] = ...) -> None: ...

class WriteRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: bytes
    def __init__(self, group: _Optional[bytes] = ...) -> None: ...

class WriteReply(_message.Message):
    __slots__ = ("replies",)
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    replies: _containers.RepeatedCompositeFieldContainer[GroupReply]
    def __init__(self, replies: _Optional[_Iterable[_Union[GroupReply, _Mapping]]] = ...) -> None: ...

class GroupReply(_message.Message):
    __slots__ = ("session", "number", "first_sequence", "count", "term", "index", "results", "rejections", "error", "deferred")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    REJECTIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DEFERRED_FIELD_NUMBER: _ClassVar[int]
    session: int
    number: int
    first_sequence: int
    count: int
    term: int
    index: int
    results: _containers.RepeatedScalarFieldContainer[bytes]
    rejections: _containers.RepeatedCompositeFieldContainer[Rejection]
    error: _types_pb2.Error
    deferred: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, session: _Optional[int] = ..., number: _Optional[int] = ..., first_sequence: _Optional[int] = ..., count: _Optional[int] = ..., term: _Optional[int] = ..., index: _Optional[int] = ..., results: _Optional[_Iterable[bytes]] = ..., rejections: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ..., error: _Optional[_Union[_types_pb2.Error, _Mapping]] = ..., deferred: _Optional[_Iterable[int]] = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("offset", "why")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    offset: int
    why: str
    def __init__(self, offset: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class TailRequest(_message.Message):
    __slots__ = ("after", "stream", "follow", "commands", "oldest", "last", "since", "from_now")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    COMMANDS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    FROM_NOW_FIELD_NUMBER: _ClassVar[int]
    after: int
    stream: str
    follow: bool
    commands: bool
    oldest: bool
    last: int
    since: int
    from_now: bool
    def __init__(self, after: _Optional[int] = ..., stream: _Optional[str] = ..., follow: _Optional[bool] = ..., commands: _Optional[bool] = ..., oldest: _Optional[bool] = ..., last: _Optional[int] = ..., since: _Optional[int] = ..., from_now: _Optional[bool] = ...) -> None: ...

class TailReply(_message.Message):
    __slots__ = ("entries", "position", "served_by", "beat_ms", "gtid_server_id")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    BEAT_MS_FIELD_NUMBER: _ClassVar[int]
    GTID_SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[TailEntry]
    position: int
    served_by: str
    beat_ms: int
    gtid_server_id: int
    def __init__(self, entries: _Optional[_Iterable[_Union[TailEntry, _Mapping]]] = ..., position: _Optional[int] = ..., served_by: _Optional[str] = ..., beat_ms: _Optional[int] = ..., gtid_server_id: _Optional[int] = ...) -> None: ...

class TailEntry(_message.Message):
    __slots__ = ("term", "index", "first_sequence", "timestamp", "group", "sequences", "group_offset", "group_bytes")
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    GROUP_OFFSET_FIELD_NUMBER: _ClassVar[int]
    GROUP_BYTES_FIELD_NUMBER: _ClassVar[int]
    term: int
    index: int
    first_sequence: int
    timestamp: int
    group: bytes
    sequences: _containers.RepeatedScalarFieldContainer[int]
    group_offset: int
    group_bytes: int
    def __init__(self, term: _Optional[int] = ..., index: _Optional[int] = ..., first_sequence: _Optional[int] = ..., timestamp: _Optional[int] = ..., group: _Optional[bytes] = ..., sequences: _Optional[_Iterable[int]] = ..., group_offset: _Optional[int] = ..., group_bytes: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class GetReply(_message.Message):
    __slots__ = ("entry", "served_by", "gtid_server_id")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    GTID_SERVER_ID_FIELD_NUMBER: _ClassVar[int]
    entry: TailEntry
    served_by: str
    gtid_server_id: int
    def __init__(self, entry: _Optional[_Union[TailEntry, _Mapping]] = ..., served_by: _Optional[str] = ..., gtid_server_id: _Optional[int] = ...) -> None: ...

class StreamsRequest(_message.Message):
    __slots__ = ("after", "limit")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    after: str
    limit: int
    def __init__(self, after: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class StreamsReply(_message.Message):
    __slots__ = ("streams", "more", "served_by")
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    streams: _containers.RepeatedCompositeFieldContainer[StreamInfo]
    more: bool
    served_by: str
    def __init__(self, streams: _Optional[_Iterable[_Union[StreamInfo, _Mapping]]] = ..., more: _Optional[bool] = ..., served_by: _Optional[str] = ...) -> None: ...

class StreamInfo(_message.Message):
    __slots__ = ("name", "first_sequence", "last_sequence", "last_timestamp")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    name: str
    first_sequence: int
    last_sequence: int
    last_timestamp: int
    def __init__(self, name: _Optional[str] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., last_timestamp: _Optional[int] = ...) -> None: ...

class InfoReply(_message.Message):
    __slots__ = ("served_by", "first_sequence", "last_sequence", "first_index", "commit_index", "applied_index", "last_index", "term", "log_bytes", "disk_bytes", "snapshot_index")
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_INDEX_FIELD_NUMBER: _ClassVar[int]
    served_by: str
    first_sequence: int
    last_sequence: int
    first_index: int
    commit_index: int
    applied_index: int
    last_index: int
    term: int
    log_bytes: int
    disk_bytes: int
    snapshot_index: int
    def __init__(self, served_by: _Optional[str] = ..., first_sequence: _Optional[int] = ..., last_sequence: _Optional[int] = ..., first_index: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., last_index: _Optional[int] = ..., term: _Optional[int] = ..., log_bytes: _Optional[int] = ..., disk_bytes: _Optional[int] = ..., snapshot_index: _Optional[int] = ...) -> None: ...

class OpenConsumerRequest(_message.Message):
    __slots__ = ("name", "after")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    name: str
    after: int
    def __init__(self, name: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class CommitConsumerRequest(_message.Message):
    __slots__ = ("name", "generation", "position")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    name: str
    generation: int
    position: int
    def __init__(self, name: _Optional[str] = ..., generation: _Optional[int] = ..., position: _Optional[int] = ...) -> None: ...

class ResetConsumerRequest(_message.Message):
    __slots__ = ("name", "after")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    name: str
    after: int
    def __init__(self, name: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class DeleteConsumerRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteConsumerReply(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    def __init__(self, deleted: _Optional[bool] = ...) -> None: ...

class ConsumersReply(_message.Message):
    __slots__ = ("consumers", "served_by")
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    consumers: _containers.RepeatedCompositeFieldContainer[_types_pb2.ConsumerStatus]
    served_by: str
    def __init__(self, consumers: _Optional[_Iterable[_Union[_types_pb2.ConsumerStatus, _Mapping]]] = ..., served_by: _Optional[str] = ...) -> None: ...
