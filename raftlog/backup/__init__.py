"""Backups: made hot on any member, shipped as one file, read and restored without a cluster.

`source` makes them beside a node, `catalog` finds and verifies them, `restore` makes the first
member of a new cluster of one. The file's layout is `storage/backup_file.py`.
"""
