"""Arguments that are a member's id: a shell completes them by asking the cluster, quickly."""

from __future__ import annotations

import asyncio

import click
from click.shell_completion import CompletionItem


class MemberId(click.ParamType[str]):
    """The id of a member, as typed."""

    name = "id"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the ids of members that begin with what was typed; none where nobody answers."""
        from raftlog.cli.known import ask  # noqa: PLC0415 - spares whoever completes nothing

        try:
            known = asyncio.run(ask(ctx.obj))
        except Exception:  # noqa: BLE001 - a shell's line is no place for an error
            return []
        return [CompletionItem(each) for each in known if each.startswith(incomplete)]


MEMBER_ID = MemberId()
