"""The routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, File, Form, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import TypeAdapter, ValidationError
from pydantic.json_schema import SkipJsonSchema
from starlette.exceptions import HTTPException
from torch import Tensor

from dmnplus.answering import Answer
from dmnplus.data.example import DataError, Fact, Picture
from dmnplus.data.words import tokenize
from dmnplus.serving.batching import MOST_CELLS, Batcher, QueueFullError, Timing
from dmnplus.serving.errors import ApiError, JsonResponse, busy, http_error, internal_error, validation_error
from dmnplus.serving.limits import Limits
from dmnplus.serving.metrics import Metrics
from dmnplus.serving.models import ServedModel
from dmnplus.serving.observing import Observer
from dmnplus.serving.pictures import Decoder
from dmnplus.serving.schemas import (
    HAS_WORD,
    AnswerOut,
    Answers,
    ErrorOut,
    ImageFact,
    Models,
    Question,
    Questions,
    State,
    Text,
    Top,
    answer_out,
    model_out,
)
from dmnplus.serving.settings import ServerConfig

PAGE = Path(__file__).parent / "page"

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorOut, "description": "Not HTTP or not JSON."},
    404: {"model": ErrorOut, "description": "No such model."},
    408: {"model": ErrorOut, "description": "The request took too long to arrive."},
    413: {"model": ErrorOut, "description": "The body is larger than the server takes."},
    415: {"model": ErrorOut, "description": "Another type of body than the route takes."},
    422: {"model": ErrorOut, "description": "A question that cannot be answered, and why."},
    503: {"model": ErrorOut, "description": "Too many questions at once; Retry-After says when to ask again."},
    504: {"model": ErrorOut, "description": "The answer took too long."},
}
_UNAUTHORIZED: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorOut, "description": "No token, or a wrong one."},
}
_FACTS = TypeAdapter(list[str | ImageFact])
_FACTS_SCHEMA = {
    "type": "array",
    "minItems": 1,
    "items": {"anyOf": [{"type": "string"}, ImageFact.model_json_schema()]},
    "contains": {"anyOf": [{"type": "string", **HAS_WORD}, {"type": "object"}]},
}
# FastAPI says only that they are files.
_PICTURES = {"multipart/form-data": {"encoding": {"images": {"contentType": "image/*"}}}}


def create_app(models: Mapping[str, ServedModel], config: ServerConfig | None = None) -> Observer:
    """The application that answers with `models`, the first of which is the default."""
    config = config or ServerConfig()
    metrics = Metrics(lambda: batcher.pending)
    batcher = Batcher(limit=config.queue, most=config.max_batch, wait=config.batch_wait_ms / 1000, watch=metrics.batch)
    decoder = Decoder(config.max_pixels)
    asking = _Asking(models, config, batcher)
    # For the document alone: `Limits` checks the token before anything of a body is read.
    token = Depends(
        HTTPBearer(auto_error=False, scheme_name="token", description="The token of `dmnplus serve --token`.")
    )
    guard: dict[str, Any] = {"dependencies": [token]} if config.token else {}
    refused = _UNAUTHORIZED if config.token else {}
    listed = Models(models=[model_out(model) for model in models.values()], default=next(iter(models)))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        await batcher.close()
        decoder.close()

    app = FastAPI(
        title="dmnplus",
        description="Questions about stories and pictures, answered by Dynamic Memory Networks (DMN+).",
        version=version("dmnplus"),
        lifespan=lifespan,
        # Their pages fetch scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        # Their address would lack what a proxy put before the path.
        redirect_slashes=False,
        exception_handlers={
            HTTPException: http_error,
            RequestValidationError: validation_error,
            Exception: internal_error,
        },
    )
    app.add_middleware(Limits, config=config)

    @app.post("/v1/answer", response_model=AnswerOut, responses=_ERRORS | refused, **guard)
    async def answer(asked: Question) -> Response:
        """Answer a question about sentences."""
        return JsonResponse((await asking.answer([asked]))[0])

    @app.post("/v1/answers", response_model=Answers, responses=_ERRORS | refused, **guard)
    async def answers(asked: Questions) -> Response:
        """Answer several questions, each about sentences of its own."""
        return JsonResponse({"answers": await asking.answer(asked.questions)})

    @app.post(
        "/v1/answer/pictures",
        response_model=AnswerOut,
        responses=_ERRORS | refused,
        openapi_extra={"requestBody": {"content": _PICTURES}},
        **guard,
    )
    async def answer_pictures(
        question: Annotated[Text, Form()],
        images: Annotated[list[UploadFile], File(min_length=1, description="The pictures' files.")],
        facts: Annotated[
            str | SkipJsonSchema[None],
            Form(
                description='The story as JSON, sentences and pictures by number: ["It rains.", {"image": 0}]. '
                "Without it, the pictures in order.",
                json_schema_extra={"contentMediaType": "application/json", "contentSchema": _FACTS_SCHEMA},
            ),
        ] = None,
        model: Annotated[str | SkipJsonSchema[None], Form(description="One of GET /v1/models.")] = None,
        top: Annotated[Top, Form()] = 5,
    ) -> Response:
        """Answer a question about pictures, or pictures and sentences."""
        used = asking.model(model, pictures=True)
        if len(images) > config.max_pictures:
            problem = f"{len(images)} pictures are more than the limit of {config.max_pictures}"
            raise ApiError(422, "too_many_pictures", problem)
        told = asking.checked(used, _mixed(facts, len(images)), question)
        async with asking.in_time():
            story, content = await decoder.read(used, told, [image.file for image in images])
            [(found, timing)] = await asking.results([(used, story, question)], content)
        return JsonResponse(answer_out(used, found, timing, top))

    @app.get("/v1/models", responses=refused, **guard)
    async def list_models() -> Models:
        """The models that answer here, with questions to try."""
        return listed

    # Those who watch whether a server is up ask by HEAD.
    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def health() -> State:
        """That the process runs."""
        return State(status="ok")

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", responses={503: _ERRORS[503]})
    async def ready() -> State:
        """That questions are answered."""
        if not batcher.alive:
            raise ApiError(503, "not_ready", "no questions are answered now", {"Retry-After": "1"})
        return State(status="ready")

    @app.get("/metrics", response_class=PlainTextResponse, responses=refused, **guard)
    async def show_metrics() -> Response:
        """Counters for Prometheus."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> Response:
        return FileResponse(PAGE / "index.html")

    app.mount("/static", StaticFiles(directory=PAGE), name="static")
    # Around the application and not within it, so that its answers to failures are seen, too.
    return Observer(app, _paths(app), metrics.request)


def _paths(app: FastAPI) -> list[str]:
    return [path for route in app.routes if (path := getattr(route, "path", "")) != "/static"]


def _mixed(facts: str | None, images: int) -> list[str | int]:
    """A story of sentences and numbers of images, from what was sent as `facts`."""
    if facts is None:
        return list(range(images))
    try:
        parsed = _FACTS.validate_json(facts)
    except ValidationError:
        problem = 'facts: not a JSON list of sentences and {"image": NUMBER}'
        raise ApiError(422, "invalid", problem) from None
    told = [fact.image if isinstance(fact, ImageFact) else fact for fact in parsed]
    if wrong := [fact for fact in told if isinstance(fact, int) and fact >= images]:
        raise ApiError(422, "invalid", f"facts: there is no image {wrong[0]}; {images} came, numbered from 0")
    return told


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Told = TypeVar("Told", str, str | int)


class _Asking:
    """From a request's questions to their answers."""

    def __init__(self, models: Mapping[str, ServedModel], config: ServerConfig, batcher: Batcher) -> None:
        self.models, self.config, self.batcher = models, config, batcher

    async def answer(self, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """Answers to questions about sentences."""
        if len(questions) > self.config.queue:
            raise ApiError(422, "too_many_questions", f"more than {self.config.queue} questions at once; send fewer")
        named = [(self.model(q.model), q) for q in questions]
        asked = [(model, self.checked(model, q.sentences(), q.question), q.question) for model, q in named]
        results = await self.results(asked)
        return [
            answer_out(model, answer, timing, q.top)
            for (model, _, _), (answer, timing), q in zip(asked, results, questions, strict=True)
        ]

    def model(self, name: str | None, *, pictures: bool = False) -> ServedModel:
        """The model of that name, or the default: the first, or for `pictures` the first that reads them."""
        if name is not None and name not in self.models:
            raise ApiError(404, "no_such_model", f"there is no such model; there are {', '.join(self.models)}")
        fit = [model for model in self.models.values() if model.reads_pictures or not pictures]
        if name is None and fit:
            return fit[0]
        if name is None or self.models[name] not in fit:
            raise ApiError(422, "reads_text_only", "the model reads no pictures; GET /v1/models says which do")
        return self.models[name]

    def checked(self, model: ServedModel, facts: list[Told], question: str) -> list[Told]:
        """Those of `facts` that the model reads, unless there is nothing to answer, or too much."""
        if len(facts) > self.config.max_facts:
            problem = f"{len(facts)} facts are more than the limit of {self.config.max_facts}"
            raise ApiError(422, "too_many_facts", problem)
        texts = [text for text in (*facts, question) if isinstance(text, str)]
        if not all(map(_is_text, texts)):
            raise ApiError(422, "not_text", "half of a surrogate pair is no character; send whole ones")
        if not tokenize(question):
            raise ApiError(422, "empty_question", "the question has no word in it")
        words = sum(len(tokenize(text)) for text in texts)
        if words > self.config.max_words:
            raise ApiError(422, "too_many_words", f"{words} words are more than the limit of {self.config.max_words}")
        read = facts[-model.answerer.config.data.last_facts :]
        size, longest = model.extent(read)
        if not longest:
            raise ApiError(422, "empty_story", "the story is empty; give at least one fact with a word in it")
        if size * longest > MOST_CELLS:
            problem = f"{size} facts times the {longest} words of the longest are more than the limit of {MOST_CELLS:,}"
            raise ApiError(422, "too_long_fact", f"{problem}; split the long fact")
        return read

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Ends what is waited for within once it has taken too long."""
        try:
            async with asyncio.timeout(self.config.timeout):
                yield
        except TimeoutError:
            raise ApiError(504, "timeout", f"no answer within {self.config.timeout:g} seconds") from None

    async def results(
        self, asked: Sequence[tuple[ServedModel, Sequence[Fact], str]], pictures: Mapping[Picture, Tensor] | None = None
    ) -> list[tuple[Answer, Timing]]:
        """Answers in the order of the questions, and how long they took."""
        try:
            futures = self.batcher.submit(asked, pictures or {})
        except QueueFullError:
            raise busy() from None
        try:
            async with self.in_time():
                return [await future for future in futures]
        except DataError as error:
            raise ApiError(422, "invalid", str(error)) from None
        finally:
            # Once one has failed nobody waits for the others.
            for future in futures:
                future.cancel()
