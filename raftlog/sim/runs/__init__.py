"""Running many seeds of either engine: batches, summaries, coverage, shrinking, the command line.

Nothing here knows what a world is made of; it asks an engine for the outcome of a seed.
"""
