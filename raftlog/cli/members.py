"""Arguments whose values the cluster knows: a shell completes them by asking it, quickly."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

Ask = Callable[[Any], Awaitable[list[str]]]


class Known(click.ParamType[str]):
    """A name as typed; `ask` is given the global options, and returns those that there are."""

    def __init__(self, name: str, ask: Ask) -> None:
        self.name = name
        self._ask = ask

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's
        incomplete: str,
    ) -> list[CompletionItem]:
        """Return the names that begin with what was typed; none where nobody answers."""

        async def names() -> list[str]:
            return await self._ask(ctx.obj)

        try:
            known = asyncio.run(names())
        except Exception:  # noqa: BLE001 - a shell's line is no place for an error
            return []
        return [CompletionItem(each) for each in known if each.startswith(incomplete)]


async def _members(options: Any) -> list[str]:
    from raftlog.cli.known import ask_members  # noqa: PLC0415 - spares whoever completes nothing

    return await ask_members(options)


async def _consumers(options: Any) -> list[str]:
    from raftlog.cli.known import ask_consumers  # noqa: PLC0415 - spares whoever completes nothing

    return await ask_consumers(options)


MEMBER_ID = Known("id", _members)
CONSUMER_NAME = Known("name", _consumers)
