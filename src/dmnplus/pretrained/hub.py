"""The network that is loaded, saved and pushed by name, through huggingface_hub's own mixin where that is installed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import tomli_w
import torch

from dmnplus.config import Config, plain
from dmnplus.data.example import DataError
from dmnplus.data.vocabulary import Vocabulary
from dmnplus.data.writing import write_whole
from dmnplus.model import DMN as Network
from dmnplus.pretrained.card import iter_card_files
from dmnplus.pretrained.locate import locate
from dmnplus.training.checkpoint import CONFIG, PICTURES, VOCABULARY, WEIGHTS, read_tensors, write_json, write_tensors
from dmnplus.training.run import load_model, weights_metadata


class _WithoutHub:
    """What there is of huggingface_hub's mixin without it: saving to a folder."""

    def __init_subclass__(cls, **described: Any) -> None:
        super().__init_subclass__()

    def save_pretrained(self, save_directory: str | Path) -> None:
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        self._save_pretrained(folder)

    def _save_pretrained(self, save_directory: Path) -> None:
        raise NotImplementedError

    def push_to_hub(self, repo_id: str, **options: Any) -> NoReturn:
        raise DataError(f"pushing to {repo_id} needs huggingface_hub: pip install 'dmnplus[hub]'")


if TYPE_CHECKING:
    from huggingface_hub import PyTorchModelHubMixin
else:
    try:
        from huggingface_hub import PyTorchModelHubMixin
    except ImportError:
        PyTorchModelHubMixin = _WithoutHub


class DMN(
    Network,
    PyTorchModelHubMixin,
    library_name="dmnplus",
    license="apache-2.0",
    tags=["dynamic-memory-network"],
    paper_url="https://arxiv.org/abs/1603.01417",
):
    """The network (see `dmnplus.model.DMN`) with what it takes to save it: its `settings` and its `vocabulary`.

    `from_pretrained` sets them; of a network made by hand, set them before `save_pretrained` and `push_to_hub`. These
    write a run's folder, and beside it `config.json`, which nothing here reads: the Hub counts downloads by it.
    """

    settings: Config | None = None
    vocabulary: Vocabulary | None = None
    origin: Path | None = None
    """The folder it was loaded from."""

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
        token: str | bool | None = None,
    ) -> Self:
        """The network of a run's folder, of a shipped name (`babi/2`), or of a name on the Hugging Face Hub.

        The options are those of huggingface_hub. Raises `DataError` with the reason where there is none, or where
        format, vocabulary, settings and weights do not belong together.
        """
        folder = locate(
            pretrained_model_name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        settings, vocabulary, model = load_model(folder, kind=cls)
        model.settings, model.vocabulary, model.origin = settings, vocabulary, folder
        return model.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        if self.settings is None or self.vocabulary is None:
            raise DataError("the network has no settings or no vocabulary to save; set model.settings and .vocabulary")
        metadata = weights_metadata(self.settings, self.vocabulary, self.pictures)
        write_whole(save_directory / CONFIG, tomli_w.dumps(plain(self.settings)))
        write_json(save_directory / VOCABULARY, self.vocabulary.plain())
        if self.pictures is not None:
            write_json(save_directory / PICTURES, asdict(self.pictures))
        write_tensors(save_directory / WEIGHTS, self.state_dict(), metadata)
        # Record and card go along as long as they are about these weights.
        if self.origin is not None and self._is_as_loaded(self.origin):
            for path in iter_card_files(self.origin):
                write_whole(save_directory / path.name, path.read_bytes())

    def _is_as_loaded(self, origin: Path) -> bool:
        loaded, _ = read_tensors(origin / WEIGHTS)
        return all(torch.equal(loaded[key].to(tensor), tensor) for key, tensor in self.state_dict().items())
