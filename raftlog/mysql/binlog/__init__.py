"""The binlog's events: encode and decode, of both flavours.

Rule: pure and total. Bytes in, values out, and the other way; random bytes give an error, never a
crash. Neither the core nor asyncio is known here, and nothing asks which member runs it.
"""
