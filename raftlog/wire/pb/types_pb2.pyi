from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Consistency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LINEARIZABLE: _ClassVar[Consistency]
    LEASE: _ClassVar[Consistency]
    FOLLOWER: _ClassVar[Consistency]
    STALE: _ClassVar[Consistency]
LINEARIZABLE: Consistency
LEASE: Consistency
FOLLOWER: Consistency
STALE: Consistency

class Error(_message.Message):
    __slots__ = ("code", "message", "definite", "leader", "oldest_sequence")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DEFINITE_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    OLDEST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    definite: bool
    leader: LeaderHint
    oldest_sequence: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., definite: _Optional[bool] = ..., leader: _Optional[_Union[LeaderHint, _Mapping]] = ..., oldest_sequence: _Optional[int] = ...) -> None: ...

class LeaderHint(_message.Message):
    __slots__ = ("node_id", "address", "term")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    address: str
    term: int
    def __init__(self, node_id: _Optional[str] = ..., address: _Optional[str] = ..., term: _Optional[int] = ...) -> None: ...

class Empty(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConsumerStatus(_message.Message):
    __slots__ = ("name", "position", "lag_transactions", "holds", "generation", "committed_at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    LAG_TRANSACTIONS_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    position: int
    lag_transactions: int
    holds: bool
    generation: int
    committed_at: int
    def __init__(self, name: _Optional[str] = ..., position: _Optional[int] = ..., lag_transactions: _Optional[int] = ..., holds: _Optional[bool] = ..., generation: _Optional[int] = ..., committed_at: _Optional[int] = ...) -> None: ...
