"""What the report is made of: the JSON that the stages wrote, and nothing that was computed for the report."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that `page.render` shows.

    `recipe` is the dumped recipe, `stats` the data stage's, `train` the adapter's summary and `metrics` its logged
    steps. `base_scores` and `tuned_scores` are the `tasks` of `evaluate --json`, `comparison` is `compare --json`.
    Each example pairs both models' answers to one question; `files` and `parity` come from the export. `created`
    is an ISO 8601 time.
    """

    recipe: Json
    base_name: str
    stats: Json
    train: Json
    metrics: list[Json]
    base_scores: list[Json]
    tuned_scores: list[Json]
    comparison: Json
    examples: list[Json]
    files: list[Json]
    parity: Json | None
    created: str
