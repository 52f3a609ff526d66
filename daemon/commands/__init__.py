"""The commands, one module a group; daemon/cli.py says how one is registered."""
