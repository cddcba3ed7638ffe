"""POST /v1/embeddings: texts to vectors, where there is a model for it."""

import base64
import sys
from array import array
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, Protocol

from fastapi import FastAPI
from pydantic import BaseModel

from bedside.errors import BedsideError
from bedside.recipe import ServeSection
from bedside.serve.api import REFUSALS
from bedside.serve.desk import Seats
from bedside.serve.faults import Fault, Refused, of_exception
from bedside.serve.wire import EmbeddingRequest

NONE = Fault(
    404,
    "this server has no model for embeddings; give it one: bedside serve MODEL serve.embedder=FOLDER",
    param="model",
    code="model_not_found",
)


class Embedder(Protocol):
    """A model that turns texts into vectors."""

    name: str

    def embed(self, texts: Sequence[str]) -> tuple[list[list[float]], list[int]]:
        """A vector of each text, and how many tokens it has."""
        ...


class Embedding(BaseModel):
    """One text's vector, as numbers or in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Token counts; nothing is written."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


def add_embeddings(app: FastAPI, embedder: Embedder | None, settings: ServeSection) -> None:
    """Adds the endpoint, which has one seat; without an embedder it says how to get one."""
    seats = Seats(1, settings)

    @app.post("/v1/embeddings", responses=REFUSALS)
    async def embeddings(asked: EmbeddingRequest) -> EmbeddingList:
        """The vectors of one text or several."""
        if embedder is None:
            raise Refused(NONE)
        if asked.model not in (None, embedder.name):
            message = f"there is no such model here; for embeddings ask for '{embedder.name}'"
            raise Refused(Fault(404, message, param="model", code="model_not_found"))
        try:
            vectors, counts = await seats.run(embedder.embed, asked.texts)
        except BedsideError as error:
            raise Refused(replace(of_exception(error), param="input")) from error
        packed = asked.encoding_format == "base64"
        data = [Embedding(index=i, embedding=_packed(v) if packed else v) for i, v in enumerate(vectors)]
        usage = EmbeddingUsage(prompt_tokens=sum(counts), total_tokens=sum(counts))
        return EmbeddingList(data=data, model=embedder.name, usage=usage)


def _packed(vector: Sequence[float]) -> str:
    """Little-endian float32 in base64."""
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
