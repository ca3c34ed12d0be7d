"""The machinery of studies on networks that learn a few moves, and every recipe on networks that know nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dmnplus.data.example import DataError, Splits
from dmnplus.studies import STUDIES
from dmnplus.studies.figures import bars
from dmnplus.studies.page import draw, index, page, record_file, write_page, write_record
from dmnplus.studies.running import results_of, run_study
from dmnplus.studies.study import Arm, Column, Results, Spread, Study, Trained
from dmnplus.training.checkpoint import read_json
from dmnplus.training.run import build, build_vocabulary
from tests.model.examples import moves

PROJECT = Path(__file__).resolve().parents[2]
RECORDS, PAGES = PROJECT / "results" / "studies", PROJECT / "docs" / "studies"


class Moves:
    name = "moves"

    def splits(self) -> Splits:
        return Splits(self.name, moves(40), moves(10, seed=1), moves(20, seed=2))

    def pictures(self) -> None:
        return None


QUICK = ("model.hidden=8", "training.epochs=1")
TINY = Study(
    name="tiny",
    question="Does size matter?",
    arms=(
        Arm(name="small", data=Moves(), settings=QUICK),
        Arm(name="larger", data=Moves(), settings=("model.hidden=12", "training.epochs=1")),
    ),
    columns=(Column("first", "validation error of the first epoch"),),
    measure=lambda trained: {"first": trained.validation_errors[0]},
    draw=lambda figure, results: bars(
        figure.subplots(), {arm: {"": results[arm, "error"]} for arm in ("small", "larger")}, "test error, %"
    ),
    answer=lambda results: (
        f"Small: {results['small', 'error']:.1%}.",
        f"Larger: {results['larger', 'error']:.1%}.",
        results["small", "error"].compared(results["larger", "error"], "Yes.", "No.", "Not clear."),
    ),
    on_pictures=lambda results: f"{results['small', 'error']:.1%} of them.",
    starts=2,
)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def tiny(networks: Path) -> dict:
    return run_study(TINY, networks)


def test_a_record_has_every_start_of_every_arm(tiny: dict):
    assert {name: [start["seed"] for start in arm["starts"]] for name, arm in tiny["arms"].items()} == {
        "small": [0, 1],
        "larger": [0, 1],
    }
    measures = tiny["arms"]["small"]["starts"][0]["measures"]
    assert {"error", "first", "parameters"} <= set(measures)
    assert 0 <= measures["error"] <= 1
    assert all(start["processor_seconds"] is not None for arm in tiny["arms"].values() for start in arm["starts"])


def test_what_is_trained_is_not_trained_again(tiny: dict, networks: Path):
    def unwanted(news: object) -> None:
        raise AssertionError(news)

    renamed = replace(TINY, name="other", arms=(replace(TINY.arms[0], name="the same"),))
    again = run_study(renamed, networks, watch=unwanted)
    assert again["arms"]["the same"]["starts"] == tiny["arms"]["small"]["starts"]


def test_page_and_figure_are_the_same_for_the_same_record(tiny: dict, tmp_path: Path):
    write_record(tmp_path, TINY, tiny)
    first = write_page(TINY, tmp_path, tmp_path / "one")
    second = write_page(TINY, tmp_path, tmp_path / "two")
    assert first.read_text() == second.read_text()
    assert (tmp_path / "one" / "tiny.svg").read_bytes() == (tmp_path / "two" / "tiny.svg").read_bytes()
    text = first.read_text()
    error = results_of(TINY, tiny)["larger", "error"]
    assert f"Larger: {error.mean:.1%} ({error.low:.1%} to {error.high:.1%})." in text
    assert "![Does size matter?](tiny.svg)" in text
    assert "On pictures: " in text
    assert "2 starts each, seeds 0, 1" in text


def test_a_record_of_another_recipe_is_refused(tiny: dict):
    changed = replace(TINY, arms=(replace(TINY.arms[0], settings=(*QUICK, "model.passes=2")), TINY.arms[1]))
    with pytest.raises(DataError, match=r"another recipe for 'small'.*dmnplus study tiny"):
        page(changed, tiny)


def test_a_missing_record_or_measure_is_named(tiny: dict, tmp_path: Path):
    with pytest.raises(DataError, match=r"tiny.json: no such record; `dmnplus study tiny`"):
        write_page(TINY, tmp_path, tmp_path)
    with pytest.raises(DataError, match="no 'nothing' of 'small'"):
        results_of(TINY, tiny)["small", "nothing"]


def test_spreads_differ_where_all_starts_do():
    low, middle, high = Spread((0.1, 0.2)), Spread((0.15, 0.4)), Spread((0.3, 0.5))
    assert low.compared(high, "less", "more", "same") == "less"
    assert high.compared(low, "less", "more", "same") == "more"
    assert low.compared(middle, "less", "more", "same") == "same"
    assert f"{high:.0%}" == "40% (30% to 50%)"


def test_the_same_networks_are_compared_start_by_start():
    before, lower, mixed = Spread((0.1, 0.4)), Spread((0.05, 0.3)), Spread((0.05, 0.5))
    assert before.compared(lower, "less", "more", "same") == "same"
    assert lower.changed(before, "less", "more", "same") == "less"
    assert before.changed(lower, "less", "more", "same") == "more"
    assert mixed.changed(before, "less", "more", "same") == "same"


def few(arm: Arm) -> Splits:
    return replace(arm.data, questions=30, validation=10, test=20).splits()  # pyright: ignore


@pytest.fixture(scope="module")
def untrained() -> dict[str, Results]:
    """Every study's measures of networks that have learnt nothing, a start an arm."""
    found = {}
    for study in STUDIES.values():
        measured = {}
        for arm in study.arms:
            splits = few(arm)
            pictures = replace(arm.data, questions=30, validation=10, test=20).pictures()  # pyright: ignore
            vocabulary = build_vocabulary(splits, anonymous=arm.config.data.anonymous_names)
            torch.manual_seed(0)
            model = build(arm.config, vocabulary, pictures.format if pictures else None)
            measures = study.measure(Trained(model, vocabulary, arm.config, splits, pictures, (0.5,) * 12))
            own = {"error": 0.5, "loss": 1.0, "best_epoch": 3, "parameters": 1000}
            measured[arm.name] = {name: Spread((value,)) for name, value in {**own, **measures}.items()}
        found[study.name] = Results(measured)
    return found


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_measures_answers_and_draws(name: str, untrained: dict[str, Results], tmp_path: Path):
    study, results = STUDIES[name], untrained[name]
    assert study.name == name
    sentences = study.answer(results)
    assert len(sentences) == 3
    assert (study.on_pictures is None) == (name == "one_space")
    assert study.on_pictures is None or study.on_pictures(results).endswith(".")
    for sentence in sentences:
        assert sentence.endswith("."), sentence
        assert any(letter.isdigit() for letter in sentence), sentence
    for column in study.columns:
        assert any(column.measure in measured for measured in results.measured.values()), column
    draw(study, results, tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()


@pytest.mark.parametrize("name", STUDIES)
def test_arms_have_names_and_recipes_of_their_own(name: str):
    arms = STUDIES[name].arms
    assert len({arm.name for arm in arms}) == len(arms)
    assert len({(arm.data.name, arm.config) for arm in arms}) == len(arms)


def recorded() -> list[str]:
    return [name for name, study in STUDIES.items() if record_file(RECORDS, study).exists()]


@pytest.mark.parametrize("name", recorded())
def test_committed_pages_are_what_the_records_give(name: str):
    record = read_json(record_file(RECORDS, STUDIES[name]))
    assert (PAGES / f"{name}.md").read_text(encoding="utf-8") == page(STUDIES[name], record)


@pytest.mark.parametrize("name", recorded())
def test_committed_figures_are_what_the_records_give(name: str, tmp_path: Path):
    import matplotlib

    committed = (PAGES / f"{name}.svg").read_text(encoding="utf-8")
    if f"Matplotlib v{matplotlib.__version__}" not in committed:
        pytest.skip(f"the figure was drawn by another version of matplotlib than {matplotlib.__version__}")
    study = STUDIES[name]
    draw(study, results_of(study, read_json(record_file(RECORDS, study))), tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text(encoding="utf-8") == committed


def test_the_committed_index_is_what_the_records_give():
    assert (PAGES / "README.md").read_text(encoding="utf-8") == index(STUDIES, RECORDS)
