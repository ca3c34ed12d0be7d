"""What readers of the paper ask, each answered by an experiment that runs with one command."""

from dmnplus.studies import (
    chain,
    fusion_order,
    gate_features,
    history,
    later_facts,
    one_space,
    passes,
    question_everywhere,
    residual,
    shared_words,
    supervision,
    tied,
)
from dmnplus.studies.study import Study

_IN_ORDER = (
    passes,
    later_facts,
    residual,
    gate_features,
    history,
    fusion_order,
    question_everywhere,
    tied,
    chain,
    supervision,
    shared_words,
    one_space,
)
STUDIES: dict[str, Study] = {module.STUDY.name: module.STUDY for module in _IN_ORDER}
"""The studies by name, in the order of the questions."""
