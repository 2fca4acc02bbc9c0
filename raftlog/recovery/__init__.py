"""What is done to the directories of stopped nodes when a cluster cannot help itself any more.

Rule: offline. A directory is locked while it is looked at or changed, so a running node's is
refused. What changes anything makes a plan first, and says in it what may be lost.
"""
