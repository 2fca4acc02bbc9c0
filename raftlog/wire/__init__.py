"""The wire between client and server: generated messages, channel options, the table of errors."""
