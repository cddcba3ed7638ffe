"""`bedside export`: the stage, and what is done with a release once it is written (--verify, --push, --bundle)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bedside.errors import CheckFailed, DataError, UsageError
from bedside.runtime.choose import find_run
from bedside.verbs import export as stage


def export(
    recipe: str, overrides: Sequence[str], runs: Path, push: str | None, public: bool, bundle: Path | None
) -> dict[str, Any]:
    """Exports; then sends the release to the hub, and packs it, if asked to.

    What would be refused afterwards is refused before anything is computed.
    """
    from bedside.verbs.pipeline import run_until
    from bedside.verbs.run import prepare_run

    if public and push is None:
        raise UsageError("--public goes with --push ORG/NAME")
    if push is not None:
        from bedside.export.push import refuse_early

        refuse_early(push)
    if bundle is not None:
        from bedside.export.bundle import refuse_name

        refuse_name(bundle)
    run = prepare_run(recipe, overrides, runs)
    run_until(run, "export")
    result = stage.result(run)
    folder = run.folder("export")
    if push is not None:
        from bedside.export.push import send

        result["pushed"] = send(folder, push, public)
    if bundle is not None:
        from bedside.export.bundle import pack

        result["bundle"] = pack(folder, bundle, index=run.path / "index")
    return result


def in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    lines = [stage.in_words(result)]
    if pushed := result.get("pushed"):
        lines.append(f"{pushed['url']}: {pushed['files']} files, {'private' if pushed['private'] else 'public'}")
    if bundle := result.get("bundle"):
        size = f"{bundle['bytes'] / 2**20:.1f} MiB  sha256 {bundle['sha256'][:16]}…"
        lines.append(f"{bundle['path']}  {size}; `bedside serve {bundle['path']}` verifies and serves it")
    return "\n".join(lines)


def verify(card: str, runs: Path, other: object = None) -> dict[str, Any]:
    """Reads a card's files and values again; `card` is its path, its folder's, a run's, or a run's name.

    Raises UsageError if there is anything `other` on the command line, DataError if there is no card.
    """
    from bedside.export import verify as check

    if other:
        raise UsageError("--verify takes a card and no settings, --push, --public or --bundle")
    run = find_run(card, runs)
    path = run.path if run else Path(card).expanduser()
    if not path.exists():
        raise DataError(f"{card}: no such card, folder or run; `bedside runs` lists the runs in {runs}")
    folder = check.find(path)
    found = check.verify(folder)
    counts = {"files": found.files, "numbers": found.numbers}
    return {"release": str(folder), "ok": found.ok, **counts, "problems": list(found.problems)}


def verify_in_words(result: dict[str, Any]) -> str:
    """The same for a person."""
    if result["ok"]:
        return f"verified: {result['files']} files, {result['numbers']} numbers"
    return "\n".join(result["problems"])


def refuse_unless_ok(result: dict[str, Any]) -> None:
    """Raises CheckFailed if anything differs."""
    if count := len(result["problems"]):
        does = "does" if count == 1 else "do"
        raise CheckFailed(f"{result['release']}: not verified, {count} of its statements {does} not hold")
