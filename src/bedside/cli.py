"""The command line: parses, calls one verb, prints, and turns errors into one line and an exit status.

stdout holds results, and with `--json` one JSON object and nothing else; progress, notices and errors go to stderr.
Exit status: 0 done, 1 a check says no, 2 the user's mistake, 3 an extra is missing, 130 interrupted.
"""

import errno
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from bedside.errors import BedsideError, MissingExtra, UsageError
from bedside.extras import extra_of
from bedside.progress import say
from bedside.train import launch

app = typer.Typer(
    name="bedside",
    help="Train, prove and run a private medical reasoning model on hardware you own. "
    "A research tool, no medical device.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE", help="Recipe file, a run of before, or the name of a shipped one.", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="SECTION.KEY=VALUE", help="Settings that override the recipe's.")
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder of the runs.", envvar="BEDSIDE_RUNS")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A run, a GGUF file or a model folder.", show_default=False)
]
ContextOption = Annotated[
    int | None, typer.Option(min=256, help="Tokens of a conversation; default: the recipe's, 4096.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Threads of llama.cpp; default: the recipe's, all cores.")
]
RUNS = Path("runs")
INTERRUPTED = 130
UsageMistake: type[Exception] = typer.BadParameter.__mro__[1]
"""click's UsageError, which newer releases of typer carry under a private name."""


def main() -> None:
    """Runs the command line and exits.

    SIGTERM interrupts as Ctrl-C does, so that what is open is closed, and so does a terminal that is closed.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _outlive_the_terminal()
    sys.exit(launch.together(lambda: run(sys.argv[1:])))


def run(arguments: list[str]) -> int:
    """The exit status of a command line. Bugs keep their traceback; `--debug` shows that of a mistake, too."""
    debug = "--debug" in arguments
    _fetch_no_kernels()
    try:
        status = app(args=[a for a in arguments if a != "--debug"], prog_name="bedside", standalone_mode=False)
    except BedsideError as error:
        if debug:
            raise
        say(f"bedside: {error}")
        return error.exit_status
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None or debug:
            raise
        say(f"bedside: {MissingExtra.named(f'{error.name}, which this command uses,', extra)}")
        return MissingExtra.exit_status
    except UsageMistake as error:
        say(f"bedside: {_in_one_line(error)}")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except SystemExit as left:  # typer's word for it when the reader of stdout has left, as `head` does
        if not isinstance(left.__context__, BrokenPipeError):
            raise
        return 0
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        say(f"bedside: '{str(error.filename)[:40]}…' is no path; have two arguments changed places?")
        return 2
    if status == INTERRUPTED:  # newer releases of typer turn Ctrl-C into it by themselves
        goes_on = "" if arguments[:1] == ["serve"] else "; the same command goes on from here"
        say(f"bedside: interrupted{goes_on}")
    return status if isinstance(status, int) else 0


def _fetch_no_kernels() -> None:
    """Keeps libraries from fetching code of the hub and running it, which the package `kernels` does if it is there.

    bitsandbytes (0.50) does so unasked as soon as it is imported on a CPU with AVX-512 bf16, and otherwise says that
    one should install that package. For the libraries of a command it is not installed.
    """
    sys.modules["kernels"] = None  # type: ignore[assignment]


def _outlive_the_terminal() -> None:
    """Has a terminal that goes away interrupt, as Ctrl-C does, and writes what would go there nowhere.

    A process that ignores it, as under nohup, still does; Windows has no such signal.
    """
    hang_up = getattr(signal, "SIGHUP", None)
    if hang_up is None or signal.getsignal(hang_up) is signal.SIG_IGN:
        return
    shown = [number for number in (1, 2) if os.isatty(number)]

    def gone(number: int, frame: FrameType | None) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in shown:
            os.dup2(nowhere, stream)
        os.close(nowhere)
        signal.raise_signal(signal.SIGINT)

    signal.signal(hang_up, gone)


@app.command()
def demo(runs: RunsOption = RUNS, json_: JsonOption = False) -> None:
    """Run everything on the embedded model and data. Then ask the exported file one held-out question."""
    from bedside.verbs import demo as verb

    _print(verb.demo(runs), verb.in_words, json_)


@app.command(name="run")
def run_(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    until: Annotated[str, typer.Option(help="Stop after: data, train, evaluate, compare, export, report.")] = "report",
    runs: RunsOption = RUNS,
    json_: JsonOption = False,
) -> None:
    """Run all stages of a recipe. What is done and unchanged is not run again."""
    from bedside.verbs import run as verb

    _print(verb.run(recipe, overrides or [], until, runs), verb.in_words, json_)


@app.command()
def data(
    recipe: RecipeArgument, overrides: Overrides = None, runs: RunsOption = RUNS, json_: JsonOption = False
) -> None:
    """Read, split and count the rows."""
    from bedside.verbs import data as verb

    _stage("data", verb, recipe, overrides, runs, json_)


@app.command()
def lint(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    show: Annotated[int | None, typer.Option(min=1, metavar="N", help="Show row N instead of the first one.")] = None,
    runs: RunsOption = RUNS,
    json_: JsonOption = False,
) -> None:
    """Show what will really be trained, and every way in which it is wrong. Exit status 1 if there is an error."""
    from bedside.verbs import lint as verb

    result = verb.lint(recipe, overrides or [], show, runs)
    _print(result, verb.in_words, json_)
    if result["errors"]:
        raise typer.Exit(1)


@app.command()
def plan(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Measure the real step for 10 seconds, or a few batches of large models."),
    ] = False,
    runs: RunsOption = RUNS,
    json_: JsonOption = False,
) -> None:
    """Show parameters, memory, disk and time of a run before anything is spent. What to change if it does not fit."""
    from bedside.verbs import plan as verb

    _print(verb.plan(recipe, overrides or [], calibrate, runs), verb.in_words, json_)


@app.command()
def train(
    recipe: RecipeArgument, overrides: Overrides = None, runs: RunsOption = RUNS, json_: JsonOption = False
) -> None:
    """Fine-tune; continues from the last checkpoint."""
    from bedside.verbs import train as verb

    _stage("train", verb, recipe, overrides, runs, json_)


@app.command()
def evaluate(
    recipe: RecipeArgument,
    overrides: Overrides = None,
    model: Annotated[
        str | None,
        typer.Option(help="Score this instead: a run, a GGUF file, a model folder, or a server's address (…/v1#NAME)."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="With --model: what its scores are called; default: its own.")
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, max=64, help="With --model: conversations asked at once; default: 4.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="With --model: ask all over, such as a server with another model behind it.")
    ] = False,
    runs: RunsOption = RUNS,
    json_: JsonOption = False,
) -> None:
    """Score the base and the tuned model on held-out items, or any other model on the same ones."""
    from bedside.verbs import evaluate as verb

    if model is None:
        given = {"--name": name, "--at-once": at_once, "--again": again}
        if alone := next((option for option, value in given.items() if value), None):
            raise UsageError(f"{alone} needs --model: it is about another model than the run's own")
        _stage("evaluate", verb, recipe, overrides, runs, json_)
    else:
        _print(
            verb.score(recipe, overrides or [], model, runs, name=name, at_once=at_once, again=again),
            verb.in_words,
            json_,
        )


@app.command()
def export(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="Recipe file, folder of a run, or name of a shipped one; with --verify also a model card.",
            show_default=False,
        ),
    ],
    overrides: Overrides = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read a card's files and values again. Exit status 1 if one differs.")
    ] = False,
    push: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="Then send the release to this repository on the hub.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="With --push: anybody may read it.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tar.zst", help="Then write one file for machines without a network.", dir_okay=False
        ),
    ] = None,
    runs: RunsOption = RUNS,
    json_: JsonOption = False,
) -> None:
    """Write GGUF files, Modelfile and model card. They are checked to say what was trained."""
    from bedside.verbs import release as verb

    if not verify:
        _print(verb.export(recipe, overrides or [], runs, push, public, bundle), verb.in_words, json_)
        return
    result = verb.verify(recipe, runs, overrides or push or public or bundle)
    _print(result, verb.verify_in_words, json_)
    verb.refuse_unless_ok(result)


@app.command()
def parity(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run, by its name or folder.")],
    runs: RunsOption = RUNS,
    json_: JsonOption = False,
) -> None:
    """Prove that what is served is what was trained. Exit status 1, and the fault's name, if it is not."""
    from bedside.verbs import parity as verb

    result = verb.parity(run, runs)
    _print(result, verb.in_words, json_)
    verb.require(result, Path(result["run"]))


@app.command()
def compare(
    first: Annotated[
        str, typer.Argument(metavar="RUN", help="A run: its tuned model against its base. RUN:NAME is one evaluation.")
    ],
    second: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Another run: its tuned model, or the evaluation RUN:NAME.")
    ] = None,
    runs: RunsOption = RUNS,
    json_: JsonOption = False,
) -> None:
    """Compare base and tuned model item by item. With intervals and a verdict, which may be "worse"."""
    from bedside.verbs import compare as verb

    _print(verb.compare(first, second, runs), verb.in_words, json_)


@app.command()
def ask(
    model: ModelArgument,
    question: Annotated[str, typer.Argument(help="The question; - reads it from stdin.", show_default=False)],
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of reasoning and answer together.")] = 1024,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 always gives the same answer.")] = 0.0,
    context: ContextOption = None,
    threads: ThreadsOption = None,
    runs: RunsOption = RUNS,
    json_: JsonOption = False,
) -> None:
    """Ask one question. The answer goes to stdout, the reasoning to stderr."""
    from bedside.verbs import ask as verb
    from bedside.verbs.serve import settings_of

    settings = settings_of(model, runs, context=context, threads=threads)
    verb.ask(model, question, verb.options(max_tokens, temperature), settings, runs, json_)


@app.command()
def serve(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="A run, a GGUF file, a model folder, a bundle (.tar.zst), or an address (http://…#NAME), to which "
            "every question is sent; with --verify-log an audit log.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: the recipe's, loopback.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 takes a free one; default: the recipe's, 8000.")
    ] = None,
    context: ContextOption = None,
    threads: ThreadsOption = None,
    slots: Annotated[int, typer.Option(min=1, max=64, help="Conversations answered at once.")] = 2,
    api_key: Annotated[str | None, typer.Option(envvar="BEDSIDE_API_KEY", help="Key that requests must carry.")] = None,
    new_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make a key, show it once, keep its hash, and serve nothing.")
    ] = None,
    verify_log: Annotated[
        bool,
        typer.Option("--verify-log", help="Check the audit log, and serve nothing. Exit status 1 if it was changed."),
    ] = False,
    runs: RunsOption = RUNS,
) -> None:
    """Serve the private web page and the OpenAI-compatible API."""
    from bedside.verbs import serve as verb

    if verify_log:
        print(
            verb.verify_log(Path(model) if model else None, verb.settings_of(None, runs, overrides or [])), flush=True
        )
    elif new_key is not None:
        print(verb.new_key(new_key, verb.settings_of(model, runs, overrides or [])), flush=True)
    elif model is None:
        raise UsageError("MODEL is missing: a run, a GGUF file, a model folder or a bundle; see `bedside serve --help`")
    else:
        model = verb.unpacked(model)
        given = {"host": host, "port": port, "context": context, "threads": threads}
        verb.serve(model, verb.settings_of(model, runs, overrides or [], **given), slots, api_key, runs)


@app.command(name="runs")
def runs_(runs: RunsOption = RUNS, json_: JsonOption = False) -> None:
    """List the runs and the state of their stages."""
    from bedside.verbs import runs as verb

    _print(verb.result(runs), verb.in_words, json_)


@app.command()
def doctor(json_: JsonOption = False) -> None:
    """Show what is installed, and the line that mends each lack."""
    from bedside.verbs import doctor as verb

    result = verb.result()
    _print(result, verb.in_words, json_)
    if not result["ok"]:
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if version:
        from bedside import __version__

        print(__version__)
    elif context.invoked_subcommand is None:
        print(context.get_help())


def _stage(name: str, verb: Any, recipe: str, overrides: list[str] | None, runs: Path, json_: bool) -> None:
    """Runs the stages up to `name` and prints that stage's result."""
    from bedside.verbs.pipeline import run_until
    from bedside.verbs.run import prepare_run

    run = prepare_run(recipe, overrides or [], runs)
    run_until(run, name)
    _print(verb.result(run), verb.in_words, json_)


def _print(result: dict[str, Any], in_words: Any, json_: bool) -> None:
    print(json.dumps(result, ensure_ascii=False, indent=2) if json_ else in_words(result), flush=True)


def _in_one_line(error: Any) -> str:
    context = error.ctx
    where = f"; see `{context.command_path} --help`" if context else ""
    return f"{error.format_message().rstrip('.')}{where}"
