"""Planted bugs that only clients notice: sessions, receipts, reads and the key-value machine.

Several are the same on every member, so no comparison of members can find them.
"""

from __future__ import annotations

from .planting import plant

SESSIONS, OVERLAY, WAITING = "node/sessions.py", "node/overlay.py", "node/proposals.py"
COMMANDS, APPLIER, DESK = "machines/kv/commands.py", "node/application.py", "sim/core/desk.py"
_ONCE = "        if group.number != session.last_number + 1:\n"
_TWICE = "        if group.number > session.last_number + 1:\n"

EXACTLY_ONCE = (
    plant(
        "retry-applied-twice",
        "§6.3: the gate appends a retry of what is in the log already",
        (SESSIONS, "        return self._repeated(group, appended)\n", "        return APPEND\n"),
        (SESSIONS, _ONCE, _TWICE),
    ),
    plant(
        "retry-of-a-pending-group-appended",
        "a retry is known only once the first attempt is applied",
        (
            SESSIONS,
            "        session.last_number = group.number\n        session.pending",
            "        session.pending",
        ),
        (SESSIONS, _ONCE, _TWICE),
    ),
    plant(
        "kept-replies-lost",
        "replies do not outlive a restart or a snapshot",
        (
            SESSIONS,
            "            self.size_bytes += self.sessions[session].keep(reply)\n",
            "            self.sessions[session].replies.pop(reply.number, None)\n",
        ),
    ),
    plant(
        "session-table-one-behind",
        "what is saved of a session lacks its newest group",
        (
            SESSIONS,
            "            _session_key(group.session): msgpack.packb(group.number),\n",
            "            _session_key(group.session): msgpack.packb(group.number - 1),\n",
        ),
        (SESSIONS, _ONCE, _TWICE),
    ),
    plant(
        "replies-dropped-too-early",
        "a reply goes although its client has not said that it has it",
        (SESSIONS, "if number < group.lowest_unanswered:", "if number <= group.lowest_unanswered:"),
    ),
    plant(
        "gate-opens-before-the-no-op",
        "a new leader looks at sessions before it has applied what earlier ones appended",
        (
            DESK,
            "            self.is_open = self.is_promoting = False\n",
            (
                "            self.is_open = self.is_promoting = leads\n"
                "            if leads:\n"
                "                self.writes.open()\n"
            ),
        ),
    ),
    plant(
        "lost-leadership-taken-for-failure",
        "what may still be committed is told to have failed",
        (
            "errors.py",
            '    A later leader may still commit it.\n    """\n\n    code = "leadership_lost"\n',
            (
                '    A later leader may still commit it.\n    """\n\n'
                '    code = "leadership_lost"\n    default_definite = True\n'
            ),
        ),
    ),
    plant(
        "acknowledges-another-leaders-entry",
        "proposals outlive their leadership, and what is applied at their index is taken for them",
        (
            "node/writes.py",
            "        self._proposals.fail_all(error)\n\n    def passed_over",
            "\n    def passed_over",
        ),
        (
            WAITING,
            "        if proposal.term == term:\n",
            "        if proposal.term <= term:\n",
        ),
    ),
    plant(
        "receipt-names-another-sequence",
        "a client is told the sequence behind its own",
        (
            APPLIER,
            "        first_sequence=entry.first_sequence,\n",
            "        first_sequence=entry.first_sequence + entry.count,\n",
        ),
    ),
)

ANSWERS = (
    plant(
        "read-before-apply",
        "a reader looks before its read index is applied",
        (DESK, "        if index <= self._process.machine.index:\n", "        if index:\n"),
    ),
    plant(
        "reads-miss-what-is-being-flushed",
        "state that is on its way to the disk is in no layer",
        (
            OVERLAY,
            "        values = flushing[table].values\n        if key in values:\n",
            "        values = flushing[table].values\n        if key in dirty[table].values:\n",
        ),
    ),
    plant(
        "compare-ignores-the-revision",
        "a compare-and-set takes an older revision for the newest, on every member alike",
        (
            COMMANDS,
            "    if (0 if record is None else record.revision) == body.revision:\n",
            "    if (0 if record is None else record.revision) >= body.revision:\n",
        ),
    ),
    plant(
        "delete-keeps-the-key",
        "a delete says that it did, on every member alike",
        (
            COMMANDS,
            "        layout.remove(context, body.key, stored)\n        return 1\n",
            "        return 1\n",
        ),
    ),
)
