"""Whether what a folder or a record holds is of the settings and questions at hand; nothing is added to any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dmnplus.config import Config, parse, plain
from dmnplus.data.example import DataError
from dmnplus.data.pictures import Pictures
from dmnplus.training.files import RUN, read_json

_ELSE = "or another --out"


def check_settings(record: Mapping[str, Any], config: Config, seed: int, path: Path) -> None:
    """Raises `DataError` where the record at `path` is of a start with another config or seed."""
    try:
        # Settings younger than the record had their default.
        was = _named(parse(record["config"]), record["seed"])
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: not the record of a run: {error}") from None
    now = _named(config, seed)
    if changed := [f"{key}={value} (now {now[key]})" for key, value in was.items() if value != now[key]]:
        raise DataError(f"{path}: is of {', '.join(changed)}; give the same settings, {_ELSE}")


def _named(config: Config, seed: int) -> dict[str, Any]:
    settings = {f"{section}.{key}": value for section, keys in plain(config).items() for key, value in keys.items()}
    return settings | {"seed": seed}


def check_data(record: Mapping[str, Any], digests: Mapping[str, str], pictures: Pictures | None, path: Path) -> None:
    """Raises `DataError` where the record at `path` is of other questions than those of `digests`, or other `pictures`.

    Records of old may not say.
    """
    shown = asdict(pictures.format) if pictures else None
    for what, was, now in (
        ("questions", record.get("files"), dict(digests)),
        ("pictures", record.get("pictures"), shown),
    ):
        if was and was != now:
            raise DataError(f"{path}: is of other {what}; give the same data, {_ELSE}")


def check_origin(record: Mapping[str, Any], origin: Mapping[str, Any] | None, path: Path) -> None:
    """Raises `DataError` where the record at `path` is of a start that began with other weights than `origin`'s."""
    was, now = record.get("origin"), origin
    if (was or {}).get("weights") != (now or {}).get("weights"):
        began = f"with the weights of {was['name']}" if was else "at random"
        raise DataError(f"{path}: began {began}; give {'that with --from' if was else 'no --from'}, {_ELSE}")


def check_starts(folder: Path, starts: int, *, ensemble: bool) -> None:
    """Raises `DataError` where a run's folder has more starts than `starts`, or a start in the place of several.

    So it does where several have been joined to an `ensemble` and are not to be now, or the other way round.
    """
    published = read_json(folder / RUN) if (folder / RUN).exists() else {}
    if starts > 1 and published and "starts" not in published:
        raise DataError(f"{folder}: holds a run of one start; resume it without --starts, or give another --out")
    # A killed run of several starts may not have published any.
    found = [int(number) for path in folder.glob(f"start-*/{RUN}") if (number := path.parent.name[6:]).isdecimal()]
    if found and (most := max(found)) > (starts if starts > 1 else 0):
        # One start alone lies in the run's own folder.
        wanted = "--starts 2 or more" if most == 1 else f"--starts {most} or more"
        raise DataError(f"{folder}: holds a run of several starts, {most} so far; give {wanted}, {_ELSE}")
    if len(published.get("starts", ())) > 1 and ensemble != ("ensemble" in published):
        there, hint = ("", "without it") if ensemble else (" and answers as an ensemble", "with --ensemble")
        raise DataError(f"{folder}: holds several starts{there}; resume {hint}, {_ELSE}")
