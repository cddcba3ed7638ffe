"""A setup to change one thing at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bedside.models.shapes import facts, shape_of
from bedside.plan.setup import Lengths, Setup
from bedside.recipe import TrainSection

MakeSetup = Callable[..., Setup]


@pytest.fixture
def make_setup() -> MakeSetup:
    """SmolLM2-135M, fp32 on a CPU, rows of 256 to 1024 tokens; `train` takes settings, `base` another known model."""

    def make(base: str = "HuggingFaceTB/SmolLM2-135M", train: dict[str, Any] | None = None, **changes: Any) -> Setup:
        lengths = Lengths(longest=1024, prompt=100, completion=400)
        settings = TrainSection(**(train or {}))
        shape = shape_of(facts()[base.lower()], base)
        setup = Setup(
            shape,
            "none",
            settings,
            "cpu",
            "fp32",
            max_length=1024,
            lengths=lengths,
            stored_bytes=4,
            rows=500,
            recompute=False,
            validates=False,
            cores=2,
        )
        return replace(setup, **changes)

    return make
