from dataclasses import replace
from pathlib import Path

import pytest
import tomli_w

from dmnplus.config import RECIPES, Config, differences, own_defaults, parse, plain, recipes, resolve
from dmnplus.model import VARIANTS


def test_the_default_is_the_papers_protocol():
    config = resolve()
    assert config == Config()
    assert (config.training.rate, config.training.batch, config.training.epochs) == (0.001, 128, 256)
    assert (config.training.patience, config.training.l2) == (20, 0.001)
    assert (config.model.hidden, config.model.passes, config.data.last_facts) == (80, 3, 70)


def test_the_papers_exceptions():
    assert resolve(task=3).data.last_facts == 130
    assert resolve(task=6).training.l2 == resolve(task=19).training.l2 == 0
    assert resolve(task=2) == Config()


def test_dmn_max_is_trained_alike_on_every_task():
    configs = [resolve(variant="dmn-max", task=task) for task in range(1, 21)]
    assert all(config == configs[0] for config in configs)
    assert configs[0].training.schedule == "cosine"
    assert differences(plain(configs[0])) == ("dmn-max", [])


def test_own_data_keeps_the_variant_that_is_asked_for():
    assert resolve(defaults=own_defaults(200)).model.input == "ordered"
    for variant in ("odmn", "dmn3", "dmn-max"):
        assert resolve(variant=variant, defaults=own_defaults(200, variant=variant)).model == VARIANTS[variant]
    assert [own_defaults(n)["training"]["batch"] for n in (20, 200, 10_000)] == [8, 10, 128]


def test_settings_win_over_a_recipe_and_a_recipe_over_the_variant(tmp_path: Path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("[model]\nhidden = 40\npasses = 5\n[training]\nl2 = 0.01\n")
    config = resolve(variant="dmn3", task=6, recipe=recipe, settings=["model.passes=2", "model.gate=['product']"])
    assert config.model == replace(VARIANTS["dmn3"], hidden=40, passes=2, gate=("product",))
    assert config.training.l2 == 0.01


def test_a_printed_config_is_a_recipe(tmp_path: Path):
    config = resolve(variant="odmn", settings=["training.rate=0.01", "model.answer=words"])
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(tomli_w.dumps(plain(config)))
    assert resolve(recipe=recipe) == config
    assert parse(plain(config)) == config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.epoch=3", "did you mean training.epochs"),
        ("model.rate=3", "did you mean training.rate"),
        ("trainin.rate=3", "did you mean training"),
        ("training.rate=fast", "training.rate is 'fast'"),
        ("training.batch=1.5", "training.batch is 1.5"),
        ("training.batch=0", "training.batch is 0; it must be at least 1"),
        ("model.episode=soft", "model.episode is 'soft'.*'attention_gru', 'soft_attention', 'sum' or 'sum_and_mean'"),
        ("model.gate=['products']", "products"),
        (
            "model.gate=product",
            r'^model\.gate is \'product\': it takes a list, as in model\.gate=\["product", "absolute"\]$',
        ),
        ("model.gate=[1]", r"model\.gate\.0 is 1"),
        ("model.passes=0", r"^model\.passes is 0; it must be at least 1$"),
        *((f"training.{key}=nan", f"training.{key} is nan; it takes finite") for key in ("focus", "rate", "l2")),
        ("training.word_dropout=NaN", "training.word_dropout is nan; it takes finite numbers"),
        ("training.enough=inf", "training.enough is inf; it takes finite numbers"),
        ("training.epochs=true", "training.epochs is true; it takes a number"),
        ("model.fact_dropout=false", "model.fact_dropout is false; it takes a number"),
        ("model.gate_compares=['answer']", "answer"),
        ("rate=3", "section.key=value"),
        ("training.rate", "section.key=value"),
    ],
)
def test_a_wrong_setting_names_key_value_and_what_is_accepted(setting: str, message: str):
    with pytest.raises(ValueError, match=message):
        resolve(settings=[setting])


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_of_the_package_goes_by_its_name(name: str):
    assert resolve(recipe=Path(name)) == resolve(recipe=RECIPES / f"{name}.toml") != resolve()


def test_a_file_goes_before_a_recipe_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("joint").write_text("[model]\nhidden = 40\n")
    assert resolve(recipe=Path("joint")) == resolve(settings=["model.hidden=40"])
    Path("scenes").mkdir()
    assert resolve(recipe=Path("scenes")) == resolve(recipe=RECIPES / "scenes.toml")
    with pytest.raises(ValueError, match=r"jiont: no such file, nor a recipe of the package; there are .*joint"):
        resolve(recipe=Path("jiont"))


def test_a_wrong_recipe_is_named(tmp_path: Path):
    recipe = tmp_path / "recipe.toml"
    with pytest.raises(ValueError, match=r"recipe\.toml: cannot be read"):
        resolve(recipe=recipe)
    recipe.write_text("[model\n")
    with pytest.raises(ValueError, match=r"recipe\.toml: not a TOML file"):
        resolve(recipe=recipe)
    recipe.write_text("model = 3\n")
    with pytest.raises(ValueError, match="model is a section"):
        resolve(recipe=recipe)


def test_an_unknown_variant_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'dmn4'; there are odmn, dmn2, dmn3, dmn\+"):
        resolve(variant="dmn4")
