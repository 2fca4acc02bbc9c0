from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class BackupRequest(_message.Message):
    __slots__ = ("bytes_per_second",)
    BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    bytes_per_second: float
    def __init__(self, bytes_per_second: _Optional[float] = ...) -> None: ...

class BackupChunk(_message.Message):
    __slots__ = ("data", "checksum", "offset", "expected_bytes", "served_by", "last")
    DATA_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SERVED_BY_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    checksum: int
    offset: int
    expected_bytes: int
    served_by: str
    last: bool
    def __init__(self, data: _Optional[bytes] = ..., checksum: _Optional[int] = ..., offset: _Optional[int] = ..., expected_bytes: _Optional[int] = ..., served_by: _Optional[str] = ..., last: _Optional[bool] = ...) -> None: ...
