"""Pictures that come with a question: decoded beside the event loop, a few at a time, and nothing of them kept."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from torch import Tensor

from dmnplus.data.example import DataError, Fact, Picture
from dmnplus.serving.errors import ApiError
from dmnplus.serving.models import ServedModel

# Each holds a decoded picture in memory.
_AT_ONCE = 2


class Decoder:
    """Threads that read pictures as a model wants them."""

    def __init__(self, max_pixels: int) -> None:
        self.max_pixels = max_pixels
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="dmnplus-pictures")

    def close(self) -> None:
        self._pool.shutdown()

    async def read(
        self, model: ServedModel, facts: Sequence[str | int], files: Sequence[BinaryIO]
    ) -> tuple[list[Fact], dict[Picture, Tensor]]:
        """`facts`, of which a number is one of `files`, and what the model reads of its pictures.

        Raises `ApiError` for a file that is no picture, or too large a one.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, model, facts, files)

    def _read(
        self, model: ServedModel, facts: Sequence[str | int], files: Sequence[BinaryIO]
    ) -> tuple[list[Fact], dict[Picture, Tensor]]:
        # Here and not above: a server of text alone needs no library of pictures.
        from dmnplus.vision.opening import read_pictures

        wanted = model.answerer.model.pictures
        assert wanted is not None
        # Under names of our own: those of the files could lead anywhere.
        with TemporaryDirectory(prefix="dmnplus-") as folder:
            paths = [Path(folder, str(number)) for number in range(len(files))]
            content: dict[Picture, Tensor] = {}
            for number in {fact for fact in facts if isinstance(fact, int)}:
                with paths[number].open("wb") as copy:
                    shutil.copyfileobj(files[number], copy)
                picture = Picture(str(paths[number]))
                try:
                    content |= read_pictures(
                        [picture], wanted, weights=model.answerer.weights, max_pixels=self.max_pixels
                    )
                except DataError as error:
                    problem = str(error).replace(picture.path, f"images[{number}]")
                    raise ApiError(422, "bad_picture", problem) from None
            return [Picture(str(paths[f])) if isinstance(f, int) else f for f in facts], content
