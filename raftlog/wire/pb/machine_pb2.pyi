from raftlog.wire.pb import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExecuteRequest(_message.Message):
    __slots__ = ("command",)
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    command: bytes
    def __init__(self, command: _Optional[bytes] = ...) -> None: ...

class ExecuteReply(_message.Message):
    __slots__ = ("result", "sequence", "term", "index")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    result: bytes
    sequence: int
    term: int
    index: int
    def __init__(self, result: _Optional[bytes] = ..., sequence: _Optional[int] = ..., term: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class QueryRequest(_message.Message):
    __slots__ = ("request", "consistency")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_FIELD_NUMBER: _ClassVar[int]
    request: bytes
    consistency: _types_pb2.Consistency
    def __init__(self, request: _Optional[bytes] = ..., consistency: _Optional[_Union[_types_pb2.Consistency, str]] = ...) -> None: ...

class QueryReply(_message.Message):
    __slots__ = ("answer", "served_by")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    answer: bytes
    served_by: str
    def __init__(self, answer: _Optional[bytes] = ..., served_by: _Optional[str] = ...) -> None: ...

class UpgradeRequest(_message.Message):
    __slots__ = ("version", "dry_run")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    version: int
    dry_run: bool
    def __init__(self, version: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class UpgradeReply(_message.Message):
    __slots__ = ("machine", "before", "version", "raised", "index", "members")
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RAISED_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    machine: str
    before: int
    version: int
    raised: bool
    index: int
    members: _containers.RepeatedCompositeFieldContainer[MachineMember]
    def __init__(self, machine: _Optional[str] = ..., before: _Optional[int] = ..., version: _Optional[int] = ..., raised: _Optional[bool] = ..., index: _Optional[int] = ..., members: _Optional[_Iterable[_Union[MachineMember, _Mapping]]] = ...) -> None: ...

class MachineMember(_message.Message):
    __slots__ = ("node_id", "versions")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, node_id: _Optional[str] = ..., versions: _Optional[_Iterable[int]] = ...) -> None: ...
