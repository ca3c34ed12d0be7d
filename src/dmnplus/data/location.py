"""Where data lives on this computer when the user names no folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ENVIRONMENT_VARIABLE = "DMNPLUS_DATA"


def default_data_root() -> Path:
    """The folder in the environment variable DMNPLUS_DATA, else `data` in this user's cache folder for dmnplus.

    The folder need not exist.
    """
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(named).expanduser()
    return cache_folder() / "data"


def cache_folder() -> Path:
    """This user's cache folder for dmnplus; it need not exist.

    It follows the platform: XDG_CACHE_HOME or ~/.cache, ~/Library/Caches, or %LOCALAPPDATA%.
    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
        # The XDG specification has relative paths ignored.
        if not cache.is_absolute():
            cache = Path.home() / ".cache"
    return cache / "dmnplus"
