from pathlib import Path

import pytest
from PIL import Image

from dmnplus.answering import QuestionAnswerer
from dmnplus.data.example import Picture
from dmnplus.data.pictures import PictureFormat
from tests.explain.networks import untrained
from tests.model.examples import moves


@pytest.fixture
def reads_text() -> QuestionAnswerer:
    return untrained(moves(40))


@pytest.fixture
def reads_pictures() -> QuestionAnswerer:
    pixels = PictureFormat(kind="pixels", size=16, rows=2, columns=2, channels=3)
    return untrained(moves(40), pictures=pixels)


@pytest.fixture
def cards(tmp_path: Path) -> list[Picture]:
    """Two pictures with something else in each corner."""
    pictures = []
    for name, colours in (("a", ("red", "blue", "black", "green")), ("b", ("white", "blue", "red", "red"))):
        image = Image.new("RGB", (40, 32))
        for i, colour in enumerate(colours):
            image.paste(colour, (i % 2 * 20, i // 2 * 16, i % 2 * 20 + 20, i // 2 * 16 + 16))
        image.save(tmp_path / f"{name}.png")
        pictures.append(Picture(str(tmp_path / f"{name}.png")))
    return pictures
