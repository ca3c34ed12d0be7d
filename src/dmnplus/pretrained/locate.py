"""Where a model is: a run's folder, a model that ships with the package, or one on the Hugging Face Hub."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from dmnplus.data.example import DataError
from dmnplus.pretrained.card import CARD_FILES
from dmnplus.training.files import CONFIG, PICTURES, VOCABULARY, WEIGHTS

SHIPPED = Path(__file__).parent / "shipped"
"""The models that ship with the package, a folder each: `babi/2`, `scenes`."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def shipped() -> list[str]:
    """Names of the models that ship with the package, tasks in the order of their numbers."""
    names = [path.parent.relative_to(SHIPPED).as_posix() for path in SHIPPED.glob(f"**/{WEIGHTS}")]
    return sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def locate(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The folder of a model: `name` is a run's folder, else a shipped name (`babi/2`), else a name on the Hub.

    Only a name of the Hub's form (`owner/name`) whose owner is no folder here and no family of shipped models is looked
    for there, by the package huggingface_hub, which the options are for. Raises `DataError` that says where it was
    looked for.
    """
    folder, text = Path(name), str(name)
    if (folder / WEIGHTS).is_file():
        return folder
    if text in (names := shipped()):
        return SHIPPED / text
    near = difflib.get_close_matches(text, names, n=1)
    problem = f"{text}: no trained model here ({WEIGHTS} is missing), and none that ships with the package"
    hint = f"did you mean {near[0]}?" if near else "`dmnplus train` makes one, `dmnplus models` lists those that ship"
    owner = folder.parent
    if isinstance(name, Path) or not _HUB_NAME.fullmatch(text) or owner.exists() or (SHIPPED / owner).exists():
        raise DataError(f"{problem}; {hint}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        more = "to look for it on the Hugging Face Hub: pip install 'dmnplus[hub]'"
        raise DataError(f"{problem}; {hint}; {more}") from None
    try:
        return Path(
            snapshot_download(
                text,
                revision=revision,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                token=token,
                allow_patterns=[WEIGHTS, VOCABULARY, CONFIG, PICTURES, *CARD_FILES],
            )
        )
    # Its errors are of HTTP, of files and of names, and have no base in common.
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise DataError(f"{problem}; on the Hugging Face Hub neither: {reason[0] if reason else error!r}") from error
