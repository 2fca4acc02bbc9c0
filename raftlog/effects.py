"""What one entry may do when it is applied, besides what it may say.

These bounds are part of the replicated rules, like the framing of a group: members that count
differently come to different states, so a change of one needs a new feature level (decision 2).
They are no settings for the same reason.

A command that does not fit beside the ones before it in its entry has no effect and is deferred, as
is every command after it; the client sends them again in a later group. One that could not fit
alone either is rejected.
"""

from __future__ import annotations

MIB = 1 << 20

RESULT_BYTES_MAX = 16 * MIB + 64 * 1024
"""Results and reasons of an entry's commands: one largest value with all that is said beside it."""

RESULT_OVERHEAD_BYTES = 16
"""What an empty result counts for."""

ROW_BYTES_MAX = 64 * MIB
"""Row changes of an entry, with both images: a largest value over another is half of it."""

ROW_OVERHEAD_BYTES = 64
"""What a row change counts for besides its texts and bytes."""

STATE_BYTES_MAX = 64 * MIB
"""Keys and values that an entry writes to the machine's map."""

STEPS_MAX = 1 << 18
"""Reads and writes of the map and rows recorded, those of rejected commands included."""

BYTES_PER_STEP = 4096
"""Reading or writing a value counts for one more step for every so many bytes."""

SESSION_REPLY_BYTES_MAX = 64 * MIB
"""Answers kept for one session; beyond, the oldest are forgotten."""

REPLY_BYTES_MAX = 256 * MIB
"""Answers kept for all sessions; beyond, the session that holds most forgets its oldest."""
