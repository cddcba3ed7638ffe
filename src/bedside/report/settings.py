"""Recipe and training summary → the lines of the report's table of settings and cost."""

from bedside.report import numbers
from bedside.report.material import Json


def lines(recipe: Json, train: Json) -> list[tuple[str, str]]:
    """(what, value) of everything that decides what training does, then what it cost."""
    return [*_settings(recipe), *_cost(train)]


def passes(recipe: Json, train: Json) -> float | None:
    """How often each row was trained on, on average; None of no rows."""
    seen = float(train["steps"] * recipe["train"]["batch_size"] * recipe["train"]["accumulation"])
    return seen / train["rows"] if train["rows"] else None


def _settings(recipe: Json) -> list[tuple[str, str]]:
    model, train = recipe["model"], recipe["train"]
    return [
        ("Base weights", "4 bits (NF4)" if model["quantise"] == "nf4" else "not quantised"),
        ("Prompt", f"{recipe['prompt']['style']}, reasoning: {recipe['prompt']['reasoning']}"),
        ("Longest row", f"{numbers.count(model['max_length'])} tokens"),
        ("LoRA", f"rank {train['rank']}, alpha {train['alpha']:g}, dropout {train['dropout']:g}"),
        ("Layers", ", ".join(train["targets"])),
        ("Learning rate", f"{train['lr']:g}, {train['schedule']}, {train['warmup']} warm-up steps"),
        ("Rows a step", f"{train['batch_size']} × {train['accumulation']}"),
        ("Length", f"{train['max_steps']} steps" if train["max_steps"] else f"{train['epochs']:g} epochs"),
        ("Optimiser", f"{train['optimizer']}, weight decay {train['weight_decay']:g}, clip {train['clip']:g}"),
    ]


def _cost(train: Json) -> list[tuple[str, str]]:
    trainable, total = train["trainable_parameters"], train["total_parameters"]
    return [
        (
            "Trained parameters",
            f"{numbers.count(trainable)} of {numbers.count(total)} ({numbers.percent(trainable, total, 2)})",
        ),
        ("Computed on", f"{train['device']}, {train['precision']}"),
        ("Time", f"{numbers.duration(train['seconds'])}, {numbers.count(train['tokens_per_s'])} tokens/s"),
        ("Peak memory", f"{numbers.decimal(train['peak_memory_gib'], 1)}{numbers.SPACE}GiB"),
    ]
