from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SQUEEZENET = "torchvision/squeezenet1_1"


@pytest.fixture(scope="session")
def squeezenet_weights(data_root: Path) -> Path:
    pytest.importorskip("torchvision", reason='needs pip install "dmnplus[vision]"')
    path = data_root / "weights" / "squeezenet1_1.safetensors"
    if not path.is_file():
        pytest.skip(f"the weights of SqueezeNet are not in {data_root}; set DMNPLUS_DATA to its folder")
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures of noise, two of them in a folder of their own."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "more").mkdir()
    random = np.random.default_rng(0)
    for i in range(7):
        image = Image.fromarray(random.integers(0, 255, (40 + i, 50, 3), dtype=np.uint8))
        image.save(folder / ("more" if i > 4 else ".") / f"{i}.png")
    return folder
