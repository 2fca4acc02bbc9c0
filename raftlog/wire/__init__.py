"""All that client and server share.

The generated messages, channel options, the table of errors.
"""
