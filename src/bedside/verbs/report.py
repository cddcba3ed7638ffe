"""The report stage: one self-contained page over all stages of a run."""

from pathlib import Path

from bedside.files import write_json, write_text
from bedside.recipe import Recipe
from bedside.runs import Run, Stage


def stage(recipe: Recipe) -> Stage:
    """Depends on every stage that it shows."""
    reads = ("data/report", "adapter", "evaluation/base", "evaluation/tuned", "comparison", "export")
    return Stage("report", tuple(type(recipe).model_fields), reads, rooms=("report", "plots"))


def make(run: Run, folder: Path) -> None:
    """Renders the page; beside it the same in Markdown, and its figures as JSON."""
    from bedside.report import markdown, page
    from bedside.report.collect import collect

    material = collect(run.path)
    write_text(folder / "report.html", page.render(material))
    write_text(folder / "report.md", markdown.render(material))
    write_json(folder / "results.json", markdown.results(material))


def path(run: Run) -> Path:
    """Where the page is."""
    return run.folder("report") / "report.html"
