from raftlog.wire.pb import types_pb2 as _types_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
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
