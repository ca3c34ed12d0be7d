import pytest
import torch

from benchmarks.baseline import FUSIONS, TOLERANCES, Fusion, assert_parity, baseline_batch, copy_weights
from benchmarks.workload import Shape, baseline_network, batch_of, our_network


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    ("shape", "ragged"),
    [
        (Shape(facts=1, batch=1, hidden=8), False),
        (Shape(facts=7, batch=3, hidden=24, passes=1), True),
        (Shape(facts=17, batch=16, hidden=80), True),
    ],
    ids=str,
)
def test_baseline_is_the_same_network(shape: Shape, ragged: bool, fusion: Fusion):
    ours, baseline = our_network(shape), baseline_network(shape, fusion=fusion)
    copy_weights(ours, baseline)
    assert_parity(ours, baseline, batch_of(shape, ragged=ragged))


@pytest.mark.parametrize("ragged", [False, True])
def test_so_it_is_on_the_matrix_unit(matrix_unit, ragged: bool):
    shape = Shape(facts=17, batch=16, hidden=80)
    ours, baseline = our_network(shape), baseline_network(shape)
    copy_weights(ours, baseline)
    assert_parity(ours, baseline, batch_of(shape, ragged=ragged), tolerance=TOLERANCES["bfloat16 x 3"])


def test_parity_notices_another_weight():
    shape = Shape(facts=3, batch=2, hidden=8)
    ours, baseline = our_network(shape), baseline_network(shape)
    copy_weights(ours, baseline)
    with torch.no_grad():
        baseline.gate_1.weight[0, 0] += 0.1
    with pytest.raises(AssertionError, match="attention differs"):
        assert_parity(ours, baseline, batch_of(shape))


def test_padding_changes_nothing_in_the_baseline():
    shape = Shape(facts=9, batch=5, hidden=8)
    baseline, batch = baseline_network(shape).eval(), baseline_batch(batch_of(shape, ragged=True))
    together = baseline(batch.stories_BFW, batch.questions_BQ)
    for i in range(shape.batch):
        facts = int((batch.stories_BFW[i] != 0).any(dim=-1).sum())
        alone = baseline(batch.stories_BFW[i : i + 1, :facts], batch.questions_BQ[i : i + 1])
        torch.testing.assert_close(alone.logits_BA[0], together.logits_BA[i], rtol=1e-4, atol=1e-5)
