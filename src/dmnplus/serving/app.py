"""The routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from dmnplus.answering import Answer
from dmnplus.data.example import DataError, Fact
from dmnplus.data.words import tokenize
from dmnplus.serving.batching import Batcher, QueueFullError, Timing
from dmnplus.serving.errors import ApiError, JsonResponse, busy, http_error, internal_error, validation_error
from dmnplus.serving.models import ServedModel
from dmnplus.serving.schemas import (
    AnswerOut,
    Answers,
    ErrorOut,
    Models,
    Question,
    Questions,
    State,
    answer_out,
    model_out,
)
from dmnplus.serving.settings import ServerConfig

PAGE = Path(__file__).parent / "page"

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorOut, "description": "Not HTTP or not JSON."},
    401: {"model": ErrorOut, "description": "No token, or a wrong one."},
    404: {"model": ErrorOut, "description": "No such model."},
    408: {"model": ErrorOut, "description": "The request took too long to arrive."},
    413: {"model": ErrorOut, "description": "The body is larger than the server takes."},
    415: {"model": ErrorOut, "description": "Another type of body than the route takes."},
    422: {"model": ErrorOut, "description": "A question that cannot be answered, and why."},
    503: {"model": ErrorOut, "description": "Too many questions at once; Retry-After says when to ask again."},
    504: {"model": ErrorOut, "description": "The answer took too long."},
}


def create_app(models: Mapping[str, ServedModel], config: ServerConfig | None = None) -> FastAPI:
    """The application that answers with `models`, the first of which is the default."""
    config = config or ServerConfig()
    batcher = Batcher(limit=config.queue, most=config.max_batch, wait=config.batch_wait_ms / 1000)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        await batcher.close()

    app = FastAPI(
        title="dmnplus",
        description="Questions about stories and pictures, answered by Dynamic Memory Networks (DMN+).",
        version=version("dmnplus"),
        lifespan=lifespan,
        # Their pages fetch scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            HTTPException: http_error,
            RequestValidationError: validation_error,
            Exception: internal_error,
        },
    )
    app.state.batcher = batcher
    listed = Models(models=[model_out(model) for model in models.values()], default=next(iter(models)))
    asking = _Asking(models, config, batcher)

    @app.post("/v1/answer", response_model=AnswerOut, responses=_ERRORS)
    async def answer(asked: Question) -> Response:
        """Answer a question about sentences."""
        return JsonResponse((await asking.answer([asked]))[0])

    @app.post("/v1/answers", response_model=Answers, responses=_ERRORS)
    async def answers(asked: Questions) -> Response:
        """Answer several questions, each about sentences of its own."""
        return JsonResponse({"answers": await asking.answer(asked.questions)})

    @app.get("/v1/models", responses={401: _ERRORS[401]})
    async def list_models() -> Models:
        """The models that answer here, with stories to try."""
        return listed

    @app.get("/healthz")
    async def health() -> State:
        """That the process runs."""
        return State(status="ok")

    @app.get("/readyz", responses={503: _ERRORS[503]})
    async def ready() -> State:
        """That questions are answered."""
        if not batcher.alive:
            raise ApiError(503, "not_ready", "no questions are answered now", {"Retry-After": "1"})
        return State(status="ready")

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    return app


class _Asking:
    """From a request's questions to their answers."""

    def __init__(self, models: Mapping[str, ServedModel], config: ServerConfig, batcher: Batcher) -> None:
        self.models, self.config, self.batcher = models, config, batcher

    async def answer(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        if len(questions) > self.config.queue:
            raise ApiError(422, "too_many_questions", f"more than {self.config.queue} questions at once; send fewer")
        asked = [(self._model(q.model), self._checked(q.sentences(), q.question), q.question) for q in questions]
        results = await self._results(asked)
        return [
            answer_out(model, answer, timing, q.top)
            for (model, _, _), (answer, timing), q in zip(asked, results, questions, strict=True)
        ]

    def _model(self, name: str | None) -> ServedModel:
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise ApiError(404, "no_such_model", f"there is no such model; there are {', '.join(self.models)}")
        return self.models[name]

    def _checked(self, facts: list[Any], question: str) -> list[Fact]:
        if not facts:
            raise ApiError(422, "empty_story", "the story is empty; give at least one fact")
        if not question.strip():
            raise ApiError(422, "empty_question", "the question is empty")
        if len(facts) > self.config.max_facts:
            raise ApiError(
                422, "too_many_facts", f"{len(facts)} facts are more than the limit of {self.config.max_facts}"
            )
        words = sum(len(tokenize(text)) for text in (*facts, question) if isinstance(text, str))
        if words > self.config.max_words:
            raise ApiError(422, "too_many_words", f"{words} words are more than the limit of {self.config.max_words}")
        return facts

    async def _results(self, asked: Sequence[tuple[ServedModel, Sequence[Fact], str]]) -> list[tuple[Answer, Timing]]:
        try:
            futures = self.batcher.submit(asked)
        except QueueFullError:
            raise busy() from None
        try:
            async with asyncio.timeout(self.config.timeout):
                return [await future for future in futures]
        except TimeoutError:
            raise ApiError(504, "timeout", f"no answer within {self.config.timeout:g} seconds") from None
        except DataError as error:
            raise ApiError(422, "invalid", str(error)) from None
        finally:
            for future in futures:
                future.cancel()
