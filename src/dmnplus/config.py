"""The root config: assembles the parts, reads TOML recipes, applies `--set section.key=value`, rejects unknown keys."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from dmnplus.model import VARIANTS, NetworkConfig
from dmnplus.training.trainer import DataConfig, TrainingConfig

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a training run depends on, besides its data and its seed."""

    model: NetworkConfig = field(default_factory=NetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


_ADAPTER = TypeAdapter(Config)  # Making one takes longer than reading every config of a results folder with it.

_INSTALLED = Path(__file__).parent / "recipes"
RECIPES = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "recipes"
"""The recipes that come with the package: inside it once it is installed, beside `src` in a checkout."""

PAPER_EXCEPTIONS: dict[int, dict[str, Any]] = {
    3: {"data": {"last_facts": 130}},
    6: {"training": {"l2": 0.0}},
    19: {"training": {"l2": 0.0}},
}
"""Where the paper's protocol differs for one bAbI task (section 4.1 and 4.2)."""

PRESET_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "dmn-max": {
        "data": {"last_facts": 130},
        "training": {
            "rate": 0.001,
            "schedule": "cosine",
            "batch": 64,
            "epochs": 60,
            "patience": 60,
            "enough": 5e-4,
            "l2": 1e-3,
            "l2_warmup": 5,
        },
    },
}
"""How a variant that is not the paper's is trained, the same for every task."""


def own_defaults(questions: int, *, several_words: bool = False, variant: str = "dmn+") -> dict[str, dict[str, Any]]:
    """Where the defaults of own data differ: by its number of `questions`, and whether answers have `several_words`.

    They were chosen on validation questions of few events (docs/training_notes.md).
    """
    reader = {"input": "ordered"} if variant == "dmn+" else {}
    return {
        "model": {"answer": "words" if several_words else "class", **reader},
        "data": {"anonymous_words": 3},
        # Twenty steps an epoch at least, as far as batches stay large enough for a gradient.
        "training": {"batch": min(128, max(8, questions // 20)), "word_dropout": 0.25, "attention_weight": 1.0},
    }


def resolve(
    *,
    variant: str = "dmn+",
    task: int | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
    recipe: Path | None = None,
    settings: Iterable[str] = (),
) -> Config:
    """The config of a run: a variant's, the paper's exceptions for `task`, `defaults`, `recipe`, `settings`.

    Later ones win. `defaults` are those of a kind of data, `recipe` is a TOML file or the name of one in `RECIPES`,
    `settings` are `section.key=value`, values as in TOML, quotes optional. Raises `ValueError` that names the key, the
    value and what is accepted.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; there are {', '.join(VARIANTS)}")
    tree: dict[str, Any] = {"model": asdict(VARIANTS[variant])}
    own = PRESET_SETTINGS.get(variant)
    _merge(tree, PAPER_EXCEPTIONS.get(task or 0, {}) if own is None else own, where=f"{variant}, task {task}")
    _merge(tree, defaults or {}, where="defaults")
    if recipe is not None:
        _merge(tree, _read_toml(_find_recipe(recipe)), where=str(recipe))
    for setting in settings:
        key, equals, text = setting.partition("=")
        section, dot, name = key.strip().partition(".")
        if not equals or not dot:
            raise ValueError(f"--set takes section.key=value, as in training.rate=0.001; got {setting!r}")
        _merge(tree, {section: {name: _parse_value(text.strip())}}, where=f"--set {setting}")
    return parse(tree)


def parse(tree: Mapping[str, Any]) -> Config:
    """A config from its plain form (see `plain`). Raises `ValueError` for unknown keys and wrong values."""
    _check_keys(tree, where="config")
    try:
        config = _ADAPTER.validate_python(tree)
    except ValidationError as error:
        raise ValueError("; ".join(map(_problem, error.errors()))) from None
    for section, values in plain(config).items():
        for key, value in values.items():
            # No comparison finds nan out of range.
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{section}.{key} is {value}; it takes finite numbers")
    return config


def _problem(error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        # Of the sections' own checks, which name the key.
        return error["msg"].removeprefix("Value error, ")
    section, key = map(str, error["loc"][:2])
    says = error["msg"]
    if error["type"] == "tuple_type":
        says = f"it takes a list, as in {section}.{key}={json.dumps(plain(Config())[section][key])}"
    return f"{'.'.join(map(str, error['loc']))} is {error['input']!r}: {says}"


def plain(config: Config) -> dict[str, dict[str, Any]]:
    """`config` as tables of numbers, words and lists, as TOML and JSON hold them."""
    return {
        section: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        for section, values in asdict(config).items()
    }


def differences(tree: Mapping[str, Any], task: int | None = None) -> tuple[str, list[str]]:
    """The variant whose network is nearest to a config's plain form, and the settings that differ from its defaults.

    With `task`, the defaults are the paper's for this bAbI task.
    """

    def differing(variant: str) -> list[str]:
        default = plain(resolve(variant=variant, task=task))
        changed = {(section, key): value for section, keys in tree.items() for key, value in keys.items()}
        return [f"{s}.{k}={v}" for (s, k), v in changed.items() if default.get(s, {}).get(k) != v]

    variant = min(VARIANTS, key=lambda name: len(differing(name)))
    return variant, differing(variant)


def recipes() -> list[str]:
    """The names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def _find_recipe(recipe: Path) -> Path:
    """A file, as it is named, goes before a recipe of the package."""
    # A folder may have the same name, as that of the data `scenes` does.
    if recipe.is_file() or recipe.suffix or recipe.name != str(recipe):
        return recipe
    if recipe.name not in recipes():
        raise ValueError(f"{recipe}: no such file, nor a recipe of the package; there are {', '.join(recipes())}")
    return RECIPES / f"{recipe}.toml"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from None


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(tree: dict[str, Any], changes: Mapping[str, Any], where: str) -> None:
    _check_keys(changes, where)
    for section, values in changes.items():
        tree.setdefault(section, {}).update(values)


def _check_keys(tree: Mapping[str, Any], where: str) -> None:
    """Raises `ValueError` for unknown keys, and for booleans in the place of numbers, as which Python takes them."""
    sections = {f.name: {g.name: g.type for g in fields(f.default_factory)} for f in fields(Config)}  # pyright: ignore
    known = [f"{section}.{key}" for section, keys in sections.items() for key in sorted(keys)]
    for section, values in tree.items():
        if section not in sections:
            raise ValueError(f"{where}: unknown section {section!r}; {_nearest(section, sections)}")
        if not isinstance(values, Mapping):
            raise ValueError(f"{where}: {section} is a section, as in {section}.{min(sections[section])}=...")
        for key, value in values.items():
            if key not in sections[section]:
                raise ValueError(f"{where}: unknown key {section}.{key}; {_nearest(f'{section}.{key}', known)}")
            if isinstance(value, bool) and sections[section][key] in ("int", "float"):
                raise ValueError(f"{where}: {section}.{key} is {str(value).lower()}; it takes a number")


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    # A right key in the wrong section is nearer than any spelling.
    same = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
    matches = same or difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"did you mean {matches[0]}?" if matches else f"there are {', '.join(known)}"
