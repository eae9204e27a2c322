"""Sharing: the windows of one long recording, heard by whichever workers are idle.

Nothing here is durable: the task's log stays with its owner, and whatever is lost is heard again by it.
"""
