"""The Machine service: a state machine of one's own, bytes in and bytes out."""

from __future__ import annotations

from raftlog.groups import COMMAND_TAG
from raftlog.interfaces import NodePort
from raftlog.rpc.methods import Context, Handlers, Methods, seconds_left
from raftlog.rpc.services.submit import consistency_of, only_result, submit_one
from raftlog.rpc.settings import ServerSettings
from raftlog.wire.pb import machine_pb2 as pb

SERVICE = "raftlog.v1.Machine"


class MachineService:
    """Converts, calls the node, converts back."""

    def __init__(self, node: NodePort, settings: ServerSettings) -> None:
        self._node = node
        self._settings = settings

    def handlers(self, methods: Methods) -> Handlers:
        """Return the handlers by method name."""
        return {
            "Execute": methods.unary(pb.ExecuteRequest, self.execute),
            "Query": methods.unary(pb.QueryRequest, self.query),
            "Upgrade": methods.unary(pb.UpgradeRequest, self.upgrade),
        }

    async def execute(self, request: pb.ExecuteRequest, context: Context) -> pb.ExecuteReply:
        """Append one command and return the machine's result; not deduplicated."""
        timeout = seconds_left(context, self._settings.unary_timeout_seconds)
        receipt = await submit_one(
            self._node, request.command, COMMAND_TAG, self._settings, timeout
        )
        return pb.ExecuteReply(
            result=only_result(receipt),
            sequence=receipt.first_sequence,
            term=receipt.term,
            index=receipt.index,
        )

    async def query(self, request: pb.QueryRequest, context: Context) -> pb.QueryReply:
        """Ask the machine."""
        timeout = seconds_left(context, self._settings.unary_timeout_seconds)
        consistency = consistency_of(request.consistency)
        answer = await self._node.query(request.request, consistency, timeout)
        return pb.QueryReply(answer=answer, served_by=self._node.identity.node_id)

    async def upgrade(self, request: pb.UpgradeRequest, context: Context) -> pb.UpgradeReply:
        """Raise the machine's version in force."""
        timeout = seconds_left(context, self._settings.unary_timeout_seconds)
        done = await self._node.upgrade_machine(
            request.version or None, dry_run=request.dry_run, timeout_seconds=timeout
        )
        return pb.UpgradeReply(
            machine=done.machine,
            before=done.before,
            version=done.version,
            raised=done.raised,
            index=done.index,
            members=[
                pb.MachineMember(node_id=peer, versions=versions)
                for peer, versions in done.members.items()
            ],
        )
