"""Which role each method of the gRPC services needs: the one table, and the gate that obeys it.

Every method of every service is listed; one that is not needs an operator's certificate and is
audited, so that a verb that somebody adds and forgets to list is closed rather than open. The gate
stands around the handlers as the server registers them, so no service can pass it by.

Without an authenticator (`tls.roles` is off) every certificate of the authority may do everything,
and the operator's verbs are audited all the same.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable

import grpc
from google.protobuf.message import DecodeError

from raftlog.errors import Unauthorized
from raftlog.interfaces import Authenticator, Event, MemberVerb, Observer
from raftlog.rpc.audit import PARSED_BYTES_MAX, arguments_of, came_from, who
from raftlog.rpc.handshake import Uris, certificate_uris
from raftlog.rpc.methods import Context, Handlers, abort
from raftlog.types import ClientRole, NodeId
from raftlog.wire.pb import admin_pb2
from raftlog.wire.status import carried_code

AUDIT_LOGGER = "raftlog.audit"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a method asks of a certificate.

    `role` None: any certificate of the authority will do. `is_peer`: the peers' own service, whose
    handshake compares the node's URI. `is_audited`: it changes something that is not a transaction.
    `by_itself`: the certificate of the very node that answers will do, too, because whoever holds
    that node's key can stop it as well. `for_itself`: so will a node's certificate for a request by
    which it joins, and which asks for nothing else.
    """

    role: ClientRole | None = None
    is_peer: bool = False
    is_audited: bool = False
    by_itself: bool = False
    for_itself: bool = False


ANYONE = Need()
PEER = Need(is_peer=True)
READS = Need(role=ClientRole.READER)
WRITES = Need(role=ClientRole.WRITER)
INSPECTS = Need(role=ClientRole.OPERATOR)
OPERATES = Need(role=ClientRole.OPERATOR, is_audited=True)
OPERATES_ITSELF = Need(role=ClientRole.OPERATOR, is_audited=True, by_itself=True)
JOINS = Need(role=ClientRole.OPERATOR, is_audited=True, for_itself=True)

NEEDS: dict[str, Need] = {
    "Raft/Bulk": PEER,
    "Raft/Control": PEER,
    "Raft/Snapshot": PEER,
    "Log/Append": WRITES,
    "Log/OpenSession": WRITES,
    "Log/CloseSession": WRITES,
    "Log/Write": WRITES,
    "Log/Tail": READS,
    "Log/Get": READS,
    "Log/Info": READS,
    "Log/Streams": READS,
    "Log/OpenConsumer": WRITES,  # it may make one, and a position that is moved is kept no longer
    "Log/CommitConsumer": WRITES,
    "Log/Consumers": READS,
    "Log/ResetConsumer": OPERATES,  # another's position, and what is kept for it
    "Log/DeleteConsumer": OPERATES,
    "Kv/Execute": WRITES,
    "Kv/Query": READS,
    "Kv/Watch": READS,
    "Machine/Execute": WRITES,
    "Machine/Query": READS,
    "Machine/Upgrade": OPERATES,
    "Admin/Status": READS,
    "Admin/Leader": ANYONE,  # how every client finds whom to ask; the verb it then asks for decides
    "Admin/Settings": INSPECTS,
    "Admin/Diagnostics": INSPECTS,
    "Admin/Transfer": OPERATES_ITSELF,
    "Admin/StepDown": OPERATES_ITSELF,
    "Admin/CancelTransfer": OPERATES,
    "Admin/PauseElections": OPERATES,
    "Admin/SetCampaigning": OPERATES_ITSELF,
    "Admin/Drain": OPERATES_ITSELF,
    "Admin/Reigns": READS,
    "Admin/Alarms": READS,
    "Admin/LogEnd": READS,
    "Admin/TakeSnapshot": OPERATES,
    "Admin/Snapshots": READS,
    "Admin/Origin": READS,
    "Admin/UpgradeCluster": OPERATES,
    "Backup/Create": OPERATES,  # all that the cluster holds leaves by these two
    "Backup/Follow": OPERATES,
    "Admin/ChangeMembers": JOINS,
}


def need_of(method: str) -> Need:
    """Return what ``Service/Method`` needs; one that is not listed, an operator."""
    return NEEDS.get(method, OPERATES)


Serve = Callable[[object, Context], Awaitable[object]]


class Gate:
    """Lets a call pass to its handler, or not, and writes the audit line of an operator's verb.

    Args:
        node_id: This node.
        authenticator: Says which role a certificate has; None: everyone may do everything.
        observer: Takes the audit lines.
    """

    def __init__(
        self, node_id: NodeId, authenticator: Authenticator | None, observer: Observer
    ) -> None:
        self._node_id = node_id
        self._authenticator = authenticator
        self._observer = observer

    def guarded(self, service: str, handlers: Handlers) -> Handlers:
        """Return the handlers of a service, each behind the gate where it needs one."""
        return {name: self._guarded(service, name, each) for name, each in handlers.items()}

    def _guarded(
        self, service: str, name: str, handler: grpc.RpcMethodHandler[bytes, bytes]
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        method = f"{service.rpartition('.')[2]}/{name}"
        need = need_of(method)
        serve = served(handler)
        if need.role is not None and self._authenticator is not None:
            serve = self._checked(method, need, self._authenticator, serve)
        if need.is_audited:
            serve = self._audited(service, name, serve)
        return with_serve(handler, serve)

    def _checked(
        self, method: str, need: Need, authenticator: Authenticator, serve: Serve
    ) -> Serve:
        needed = need.role or ClientRole.OPERATOR

        async def handle(request: object, context: Context) -> object:
            uris = certificate_uris(context)
            role = authenticator.role(uris)
            is_own = (need.by_itself and authenticator.is_peer(uris, self._node_id)) or (
                need.for_itself and _adds_itself(request, authenticator, uris)
            )
            if not is_own and (role is None or role < needed):
                await abort(context, _refusal(method, needed, role, context))
            return await serve(request, context)

        return handle

    def _audited(self, service: str, name: str, serve: Serve) -> Serve:
        async def handle(request: object, context: Context) -> object:
            began = time.monotonic()
            outcome = "internal_error"
            try:
                answer = await serve(request, context)
                outcome = "ok"
            except grpc.aio.AbortError:
                outcome = carried_code(context.trailing_metadata()) or "failed"
                raise
            except asyncio.CancelledError:
                outcome = "cancelled"
                raise
            finally:
                self._observer.event(
                    Event.OPERATED,
                    logger=AUDIT_LOGGER,
                    who=who(context),
                    what=f"{service.rpartition('.')[2]}/{name}",
                    arguments=arguments_of(service, name, request),
                    came_from=came_from(context),
                    outcome=outcome,
                    seconds=round(time.monotonic() - began, 6),
                )
            return answer

        return handle


def _adds_itself(request: object, authenticator: Authenticator, uris: Uris) -> bool:
    """Whether a request adds the certificate's own node to the members, and asks for no more.

    Whoever issued the certificate decided that a node of that name may be one.
    """
    if not isinstance(request, bytes) or len(request) > PARSED_BYTES_MAX:
        return False
    asked = admin_pb2.ChangeMembersRequest()
    try:
        asked.ParseFromString(request)
    except DecodeError:
        return False
    return (
        not asked.force
        and len(asked.orders) == 1
        and asked.orders[0].verb == MemberVerb.ADD
        and not asked.orders[0].HasField("priority")  # who should lead is for operators to say
        and not asked.orders[0].HasField("banned")
        and authenticator.is_peer(uris, NodeId(asked.orders[0].node_id))
    )


def _refusal(
    method: str, needed: ClientRole, role: ClientRole | None, context: Context
) -> Unauthorized:
    word = needed.word
    held = "no role" if role is None else f"the role {role.word}"
    return Unauthorized(
        f"{method} needs the role {word}, and the certificate shown ({who(context)}) has {held}: "
        f"show one with the URI raftlog://role/{word} among its alternative names "
        f"(`raftlog certs create --role {word}` makes one)"
    )


def served(handler: grpc.RpcMethodHandler[bytes, bytes]) -> Serve:
    """Return the function of a handler, whatever kind of call it serves."""
    for kind in _KINDS:
        found: Serve | None = getattr(handler, kind)
        if found is not None:
            return found
    raise AssertionError  # grpc makes no handler without one


def with_serve(
    handler: grpc.RpcMethodHandler[bytes, bytes], serve: Serve
) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return a handler of the same kind that calls `serve`."""
    kind = next(kind for kind in _KINDS if getattr(handler, kind) is not None)
    made: grpc.RpcMethodHandler[bytes, bytes] = getattr(grpc, f"{kind}_rpc_method_handler")(serve)
    return made


_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
