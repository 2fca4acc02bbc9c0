from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Hello(_message.Message):
    __slots__ = ("protocol", "cluster_id", "node_id", "instance_id", "target_node_id", "feature_level_max", "fresh", "address", "membership_index", "incarnation", "feature_level", "machine_versions", "no_machine")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    FEATURE_LEVEL_MAX_FIELD_NUMBER: _ClassVar[int]
    FRESH_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_INDEX_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    FEATURE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    MACHINE_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NO_MACHINE_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    cluster_id: str
    node_id: str
    instance_id: str
    target_node_id: str
    feature_level_max: int
    fresh: bool
    address: str
    membership_index: int
    incarnation: str
    feature_level: int
    machine_versions: _containers.RepeatedScalarFieldContainer[int]
    no_machine: bool
    def __init__(self, protocol: _Optional[int] = ..., cluster_id: _Optional[str] = ..., node_id: _Optional[str] = ..., instance_id: _Optional[str] = ..., target_node_id: _Optional[str] = ..., feature_level_max: _Optional[int] = ..., fresh: _Optional[bool] = ..., address: _Optional[str] = ..., membership_index: _Optional[int] = ..., incarnation: _Optional[str] = ..., feature_level: _Optional[int] = ..., machine_versions: _Optional[_Iterable[int]] = ..., no_machine: _Optional[bool] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Position(_message.Message):
    __slots__ = ("term", "index")
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    term: int
    index: int
    def __init__(self, term: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("term", "index", "kind", "codec", "first_sequence", "count", "timestamp", "checksum", "payload")
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    term: int
    index: int
    kind: int
    codec: int
    first_sequence: int
    count: int
    timestamp: int
    checksum: int
    payload: bytes
    def __init__(self, term: _Optional[int] = ..., index: _Optional[int] = ..., kind: _Optional[int] = ..., codec: _Optional[int] = ..., first_sequence: _Optional[int] = ..., count: _Optional[int] = ..., timestamp: _Optional[int] = ..., checksum: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class PreVoteRequest(_message.Message):
    __slots__ = ("term", "last")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    term: int
    last: Position
    def __init__(self, term: _Optional[int] = ..., last: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class PreVoteResponse(_message.Message):
    __slots__ = ("term", "granted")
    TERM_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    term: int
    granted: bool
    def __init__(self, term: _Optional[int] = ..., granted: _Optional[bool] = ...) -> None: ...

class VoteRequest(_message.Message):
    __slots__ = ("term", "last", "transfer")
    TERM_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    term: int
    last: Position
    transfer: bool
    def __init__(self, term: _Optional[int] = ..., last: _Optional[_Union[Position, _Mapping]] = ..., transfer: _Optional[bool] = ...) -> None: ...

class VoteResponse(_message.Message):
    __slots__ = ("term", "granted")
    TERM_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    term: int
    granted: bool
    def __init__(self, term: _Optional[int] = ..., granted: _Optional[bool] = ...) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("term", "previous", "previous_checksum", "entries", "commit_index")
    TERM_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    term: int
    previous: Position
    previous_checksum: int
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    commit_index: int
    def __init__(self, term: _Optional[int] = ..., previous: _Optional[_Union[Position, _Mapping]] = ..., previous_checksum: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., commit_index: _Optional[int] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("term", "success", "match_index", "hint")
    TERM_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    term: int
    success: bool
    match_index: int
    hint: Position
    def __init__(self, term: _Optional[int] = ..., success: _Optional[bool] = ..., match_index: _Optional[int] = ..., hint: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("term", "commit_index", "context", "last_index", "lease_seconds", "floor")
    TERM_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    term: int
    commit_index: int
    context: int
    last_index: int
    lease_seconds: float
    floor: int
    def __init__(self, term: _Optional[int] = ..., commit_index: _Optional[int] = ..., context: _Optional[int] = ..., last_index: _Optional[int] = ..., lease_seconds: _Optional[float] = ..., floor: _Optional[int] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("term", "context", "applied_index", "lacks_room", "is_damaged")
    TERM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    LACKS_ROOM_FIELD_NUMBER: _ClassVar[int]
    IS_DAMAGED_FIELD_NUMBER: _ClassVar[int]
    term: int
    context: int
    applied_index: int
    lacks_room: bool
    is_damaged: bool
    def __init__(self, term: _Optional[int] = ..., context: _Optional[int] = ..., applied_index: _Optional[int] = ..., lacks_room: _Optional[bool] = ..., is_damaged: _Optional[bool] = ...) -> None: ...

class TimeoutNow(_message.Message):
    __slots__ = ("term", "stopped_seconds", "by_priority")
    TERM_FIELD_NUMBER: _ClassVar[int]
    STOPPED_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BY_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    term: int
    stopped_seconds: float
    by_priority: bool
    def __init__(self, term: _Optional[int] = ..., stopped_seconds: _Optional[float] = ..., by_priority: _Optional[bool] = ...) -> None: ...

class ReadIndexRequest(_message.Message):
    __slots__ = ("term", "context")
    TERM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    term: int
    context: int
    def __init__(self, term: _Optional[int] = ..., context: _Optional[int] = ...) -> None: ...

class ReadIndexResponse(_message.Message):
    __slots__ = ("term", "context", "index")
    TERM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    term: int
    context: int
    index: int
    def __init__(self, term: _Optional[int] = ..., context: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class TrialRequest(_message.Message):
    __slots__ = ("term", "context", "last")
    TERM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    term: int
    context: int
    last: Position
    def __init__(self, term: _Optional[int] = ..., context: _Optional[int] = ..., last: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class TrialVoteRequest(_message.Message):
    __slots__ = ("term", "context", "last")
    TERM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    term: int
    context: int
    last: Position
    def __init__(self, term: _Optional[int] = ..., context: _Optional[int] = ..., last: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class TrialVoteResponse(_message.Message):
    __slots__ = ("term", "context", "verdict")
    TERM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    term: int
    context: int
    verdict: int
    def __init__(self, term: _Optional[int] = ..., context: _Optional[int] = ..., verdict: _Optional[int] = ...) -> None: ...

class TrialReport(_message.Message):
    __slots__ = ("term", "context", "voter", "verdict")
    TERM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    VOTER_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    term: int
    context: int
    voter: str
    verdict: int
    def __init__(self, term: _Optional[int] = ..., context: _Optional[int] = ..., voter: _Optional[str] = ..., verdict: _Optional[int] = ...) -> None: ...

class PeerMessage(_message.Message):
    __slots__ = ("hello", "goodbye", "pre_vote_request", "pre_vote_response", "vote_request", "vote_response", "append_request", "append_response", "heartbeat_request", "heartbeat_response", "timeout_now", "read_index_request", "read_index_response", "trial_request", "trial_vote_request", "trial_vote_response", "trial_report")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    PRE_VOTE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    PRE_VOTE_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    VOTE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    VOTE_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    APPEND_REQUEST_FIELD_NUMBER: _ClassVar[int]
    APPEND_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_REQUEST_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_NOW_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_REQUEST_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    TRIAL_REQUEST_FIELD_NUMBER: _ClassVar[int]
    TRIAL_VOTE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    TRIAL_VOTE_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    TRIAL_REPORT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    goodbye: Goodbye
    pre_vote_request: PreVoteRequest
    pre_vote_response: PreVoteResponse
    vote_request: VoteRequest
    vote_response: VoteResponse
    append_request: AppendRequest
    append_response: AppendResponse
    heartbeat_request: HeartbeatRequest
    heartbeat_response: HeartbeatResponse
    timeout_now: TimeoutNow
    read_index_request: ReadIndexRequest
    read_index_response: ReadIndexResponse
    trial_request: TrialRequest
    trial_vote_request: TrialVoteRequest
    trial_vote_response: TrialVoteResponse
    trial_report: TrialReport
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ..., pre_vote_request: _Optional[_Union[PreVoteRequest, _Mapping]] = ..., pre_vote_response: _Optional[_Union[PreVoteResponse, _Mapping]] = ..., vote_request: _Optional[_Union[VoteRequest, _Mapping]] = ..., vote_response: _Optional[_Union[VoteResponse, _Mapping]] = ..., append_request: _Optional[_Union[AppendRequest, _Mapping]] = ..., append_response: _Optional[_Union[AppendResponse, _Mapping]] = ..., heartbeat_request: _Optional[_Union[HeartbeatRequest, _Mapping]] = ..., heartbeat_response: _Optional[_Union[HeartbeatResponse, _Mapping]] = ..., timeout_now: _Optional[_Union[TimeoutNow, _Mapping]] = ..., read_index_request: _Optional[_Union[ReadIndexRequest, _Mapping]] = ..., read_index_response: _Optional[_Union[ReadIndexResponse, _Mapping]] = ..., trial_request: _Optional[_Union[TrialRequest, _Mapping]] = ..., trial_vote_request: _Optional[_Union[TrialVoteRequest, _Mapping]] = ..., trial_vote_response: _Optional[_Union[TrialVoteResponse, _Mapping]] = ..., trial_report: _Optional[_Union[TrialReport, _Mapping]] = ...) -> None: ...

class SnapshotChunk(_message.Message):
    __slots__ = ("hello", "term", "snapshot_id", "size_bytes", "offset", "data", "checksum", "last")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_ID_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    term: int
    snapshot_id: str
    size_bytes: int
    offset: int
    data: bytes
    checksum: int
    last: bool
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., term: _Optional[int] = ..., snapshot_id: _Optional[str] = ..., size_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., checksum: _Optional[int] = ..., last: _Optional[bool] = ...) -> None: ...

class SnapshotAck(_message.Message):
    __slots__ = ("next_offset", "installed")
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    INSTALLED_FIELD_NUMBER: _ClassVar[int]
    next_offset: int
    installed: bool
    def __init__(self, next_offset: _Optional[int] = ..., installed: _Optional[bool] = ...) -> None: ...
