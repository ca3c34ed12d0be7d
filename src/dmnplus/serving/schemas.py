"""What requests and responses hold."""

from __future__ import annotations

import base64
import mimetypes
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from dmnplus.answering import Answer
from dmnplus.data.example import DataError, Fact, Picture
from dmnplus.data.words import split_sentences
from dmnplus.serving.batching import MOST_ANSWERS, Timing
from dmnplus.serving.models import ServedModel

_EXAMPLE = {
    "facts": ["Mary went to the kitchen.", "John went to the garden.", "Mary moved to the office."],
    "question": "Where is Mary?",
}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Top = Annotated[
    int,
    Field(ge=1, le=MOST_ANSWERS, description="How many answers to rank."),
    # JSON does not tell 5.0 from 5.
    BeforeValidator(_whole),
]
# Python's \w, which in JSON Schema is ASCII alone. For the document: `_Asking.checked` is what counts words.
HAS_WORD: dict[str, Any] = {"pattern": r"[\p{L}\p{N}_]"}
Text = Annotated[str, Field(json_schema_extra=HAS_WORD)]


class Question(BaseModel):
    """A question about sentences."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [_EXAMPLE],
            "oneOf": [{"required": ["facts"]}, {"required": ["story"]}],
        },
    )

    question: Text
    facts: list[str] = Field(
        [],
        min_length=1,
        description="The story's sentences in order; this or `story`.",
        json_schema_extra={"contains": {"type": "string", **HAS_WORD}},
    )
    story: Text = Field("", description="The story as one text, a sentence a line or ended by . ! or ?")
    model: str | None = Field(None, description="One of GET /v1/models; without it, the default.")
    top: Top = 5

    @model_validator(mode="after")
    def _one_story(self) -> Question:
        if ("facts" in self.model_fields_set) == ("story" in self.model_fields_set):
            raise ValueError("give either facts, a list of sentences, or story, a text")
        return self

    def sentences(self) -> list[str]:
        return self.facts or split_sentences(self.story)


class Questions(BaseModel):
    """Questions to answer together."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"questions": [_EXAMPLE]}]})

    questions: Annotated[list[Question], Field(min_length=1)]


class ImageFact(BaseModel):
    """One of the request's `images`, from 0."""

    model_config = ConfigDict(extra="forbid")

    image: Annotated[int, Field(ge=0)]


class Ranked(BaseModel):
    answer: str
    probability: float


class SentenceFact(BaseModel):
    kind: Literal["sentence"]
    text: str


class PictureFact(BaseModel):
    kind: Literal["picture"]
    index: int = Field(description="Which of the request's `images`, from 0.")


class ModelUsed(BaseModel):
    name: str
    version: str = Field(description="The beginning of the SHA-256 of the weights.")
    data: str


class TimingOut(BaseModel):
    queue_ms: float
    compute_ms: float
    batch: int = Field(description="Questions that were answered together.")


class AnswerOut(BaseModel):
    """An answer, and what led to it."""

    answer: str
    probability: float
    ranked: list[Ranked]
    facts: list[SentenceFact | PictureFact] = Field(description="The facts that were read: of a long story, the last.")
    attention: list[list[float]] = Field(description="Of every pass (outer) to every fact (inner).")
    regions: dict[str, list[list[list[float]]]] = Field(
        description="Attention to a picture, by its place among the facts: passes, rows, columns."
    )
    unknown_words: list[str] = Field(description="Words that training never saw.")
    model: ModelUsed
    timing: TimingOut


class Answers(BaseModel):
    answers: list[AnswerOut] = Field(description="In the order of the questions.")


class ExamplePicture(BaseModel):
    picture: str = Field(description="The file as a data: URL.")


class ExampleOut(BaseModel):
    facts: list[str | ExamplePicture]
    question: str


class ModelOut(BaseModel):
    name: str
    data: str = Field(description="What it was trained on.")
    test_error: float | None = Field(description="Share of the test questions answered wrongly.")
    pictures: bool = Field(description="Whether it reads pictures.")
    examples: list[ExampleOut]


class Models(BaseModel):
    models: list[ModelOut]
    default: str


class State(BaseModel):
    status: str


class Problem(BaseModel):
    code: str
    message: str


class ErrorOut(BaseModel):
    error: Problem


def answer_out(model: ServedModel, answer: Answer, timing: Timing, top: int) -> dict[str, Any]:
    """`AnswerOut` as plain values; a picture's path is its number among the request's images."""
    return {
        "answer": answer.answer,
        "probability": answer.probability,
        "ranked": [{"answer": text, "probability": p} for text, p in answer.ranked[:top]],
        "facts": [
            {"kind": "picture", "index": int(Path(fact.path).name)}
            if isinstance(fact, Picture)
            else {"kind": "sentence", "text": fact}
            for fact in answer.facts
        ],
        "attention": answer.attention,
        "regions": {str(i): shares for i, shares in answer.regions.items()},
        "unknown_words": answer.unknown_words,
        "model": {"name": model.name, "version": model.version, "data": model.data},
        "timing": {
            "queue_ms": round(timing.queue_ms, 3),
            "compute_ms": round(timing.compute_ms, 3),
            "batch": timing.batch,
        },
    }


def model_out(model: ServedModel) -> ModelOut:
    return ModelOut(
        name=model.name,
        data=model.data,
        test_error=model.test_error,
        pictures=model.reads_pictures,
        examples=[
            ExampleOut(facts=[_fact_out(fact) for fact in example.facts], question=example.question)
            for example in model.examples
        ],
    )


def _fact_out(fact: Fact) -> str | ExamplePicture:
    if isinstance(fact, str):
        return fact
    kind, _ = mimetypes.guess_type(fact.path)
    if kind is None or not kind.startswith("image/"):
        raise DataError(f"{fact.path}: is no picture by its name; name it as one (.png, .jpg), or take it out")
    content = base64.b64encode(Path(fact.path).read_bytes()).decode()
    return ExamplePicture(picture=f"data:{kind};base64,{content}")
