"""Networks to explain."""

from collections.abc import Sequence

import torch

from dmnplus.answering import QuestionAnswerer
from dmnplus.config import Config, resolve
from dmnplus.data.example import Example, Splits
from dmnplus.data.pictures import PictureFormat
from dmnplus.model import DMN
from dmnplus.training.run import build_vocabulary


def untrained(
    examples: Sequence[Example], *settings: str, pictures: PictureFormat | None = None, separator: str = ","
) -> QuestionAnswerer:
    """A network with the words of `examples`, as it starts."""
    config: Config = resolve(settings=["model.hidden=16", "model.pixel_channels=16", *settings])
    splits = Splits("test", examples, examples, [], separator=separator)
    vocabulary = build_vocabulary(splits, anonymous=config.data.anonymous_names)
    torch.manual_seed(1)
    model = DMN(
        config.model,
        words=len(vocabulary.words),
        answers=len(vocabulary.answers),
        answer_words=len(vocabulary.answer_words),
        pictures=pictures,
    )
    return QuestionAnswerer(config, vocabulary, model)
