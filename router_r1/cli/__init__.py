"""The commands: `router-r1 COMMAND`."""
