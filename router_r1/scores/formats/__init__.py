"""Readers of scores that others recorded: each a function of a file and of what puts a cost on an answer."""
