"""The one command, `router-r1`: a module here for each of its sub-commands, thin over the packages that do the work."""

from router_r1.cli.app import main

__all__ = ["main"]
