"""What is heavy is loaded by the verb that needs it, and by nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "numpy", "transformers", "pyarrow")
LIGHT_MODULES = ("recipe", "runs", "records", "files", "text.chat", "models.locate", "models.known", "runtime.hardware")


def loaded_by(code: str, watched: tuple[str, ...]) -> list[str]:
    """Which of the watched packages a fresh interpreter has loaded after the code."""
    report = f"import sys\nprint('loaded', *[name for name in {watched!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_a_light_module_loads_nothing_heavy(module: str) -> None:
    assert loaded_by(f"import bedside.{module}", HEAVY) == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "sys.argv = ['bedside', '--help']\n"
        "from bedside.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as error:\n    assert not error.code, error.code\n"
    )
    assert loaded_by(code, ("torch", "numpy", "transformers")) == []


@pytest.mark.parametrize("recipe", ["starter", "deepseek-r1-8b-medical-o1", "tinyllama-flashcards"])
def test_planning_loads_neither_torch_nor_transformers(recipe: str) -> None:
    code = f"from bedside import cli\nassert cli.run(['plan', '{recipe}']) == 0"
    assert loaded_by(code, ("torch", "transformers", "peft", "bitsandbytes")) == []


def test_what_trains_loads_without_a_word_of_the_libraries_below_it() -> None:
    code = "import bedside.train.learner, bedside.runtime.hf"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_watch_itself_sees_what_is_loaded() -> None:
    assert loaded_by("import numpy", HEAVY) == ["numpy"]


def test_no_library_fetches_code_from_the_hub_where_a_package_for_that_is_installed(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text("def get_kernel(*names, **options):\n    raise RuntimeError\n", "utf-8")
    libraries = "import bitsandbytes, transformers.integrations.hub_kernels"
    asked = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\nfrom bedside import cli"
    run = "assert cli.run(['plan', 'starter']) == 0"
    found = "print('hidden' if sys.modules.get('kernels') is None else 'seen')"
    for code, expected in ((f"{asked}\n{run}", "hidden"), (asked, "seen")):
        line = [sys.executable, "-c", f"{code}\n{libraries}\n{found}"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == expected
