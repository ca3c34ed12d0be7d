"""The command `dmnplus`."""

from dmnplus.cli.app import main

__all__ = ["main"]
