"""`kv lease`: leases, whose keys vanish with them."""

from __future__ import annotations

import click

from raftlog.cli.options import SECONDS, Globals, Group
from raftlog.cli.output import emit, say, text_of
from raftlog.cli.session import ask
from raftlog.cli.tables import table
from raftlog.client.client import Client
from raftlog.client.values import LeaseStatus

lease = Group(
    name="lease",
    help="Leases: keys put with one vanish when it ends. For a token that fences: kv lock.",
    examples=[
        "raftlog kv lease grant 10 -o json",
        "raftlog kv put worker/7 alive --lease 1234",
        "raftlog kv lease keep 1234",
    ],
)


@lease.command("grant", examples=["raftlog kv lease grant 10"])
@click.argument("ttl", type=SECONDS)
@click.pass_obj
def grant(options: Globals, ttl: float) -> None:
    """Grant a lease that lives for TTL (10, 30s, 2m) from its last refresh, and print its id."""

    async def work(client: Client) -> dict[str, object]:
        granted = await client.kv.lease(ttl_seconds=ttl)
        return {"lease": granted.lease_id, "ttl_seconds": granted.ttl_seconds}

    emit(options.output, ask(options, work))


@lease.command("refresh", examples=["raftlog kv lease refresh 1234"])
@click.argument("lease_id", type=click.IntRange(min=1))
@click.pass_obj
def refresh(options: Globals, lease_id: int) -> None:
    """Start the lease's time anew, once."""

    async def work(client: Client) -> dict[str, object]:
        await client.kv.attach_lease(lease_id, ttl_seconds=1).refresh()
        return {"lease": lease_id, "refreshed": True}

    emit(options.output, ask(options, work))


@lease.command("keep", examples=["raftlog kv lease keep 1234"])
@click.argument("lease_id", type=click.IntRange(min=1))
@click.pass_obj
def keep(options: Globals, lease_id: int) -> None:
    """Refresh the lease until interrupted, or until it has ended."""

    async def work(client: Client) -> dict[str, object]:
        found = await client.kv.lease_status(lease_id)
        held = client.kv.attach_lease(lease_id, ttl_seconds=max(found.ttl_seconds, 1.0))
        await held.refresh()
        found = await client.kv.lease_status(lease_id)
        held.ttl_seconds = max(found.ttl_seconds, 0.5)
        held.keep_alive()
        say(f"keeping lease {lease_id} of {held.ttl_seconds:g} s; Ctrl-C stops keeping it")
        await held.wait_lost()
        return {"lease": lease_id, "ended": True}

    emit(options.output, ask(options, work))


@lease.command("revoke", examples=["raftlog kv lease revoke 1234"])
@click.argument("lease_id", type=click.IntRange(min=1))
@click.pass_obj
def revoke(options: Globals, lease_id: int) -> None:
    """End the lease now; its keys vanish."""

    async def work(client: Client) -> dict[str, object]:
        await client.kv.attach_lease(lease_id, ttl_seconds=1).revoke()
        return {"lease": lease_id, "revoked": True}

    emit(options.output, ask(options, work))


@lease.command("show", examples=["raftlog kv lease show 1234 -o json"])
@click.argument("lease_id", type=click.IntRange(min=1))
@click.pass_obj
def show(options: Globals, lease_id: int) -> None:
    """Print what is left of the lease, and its keys."""

    async def work(client: Client) -> dict[str, object]:
        found = await client.kv.lease_status(lease_id, member=options.member)
        return {**describe(found), "keys": [text_of(key) for key in found.keys]}

    emit(options.output, ask(options, work))


@lease.command("list", examples=["raftlog kv lease list", "raftlog kv lease list -o json"])
@click.pass_obj
def list_(options: Globals) -> None:
    """Print all leases: how long each has left, and how many keys vanish with it.

    The leader alone measures what is left; asked with --member, another one does not say it.
    """

    async def work(client: Client) -> list[LeaseStatus]:
        return [found async for found in client.kv.leases(member=options.member)]

    leases = [describe(found) for found in ask(options, work)]
    columns = ("lease", "ttl_seconds", "left_seconds", "key_count")
    emit(
        options.output,
        {"leases": leases},
        lambda: table(columns, [[each[name] for name in columns] for each in leases]),
    )


def describe(found: LeaseStatus) -> dict[str, object]:
    """Return a lease as JSON has it."""
    return {
        "lease": found.lease_id,
        "ttl_seconds": found.ttl_seconds,
        "left_seconds": None if found.left_seconds is None else round(found.left_seconds, 3),
        "key_count": found.key_count,
    }
