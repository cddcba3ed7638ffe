"""What `pip install 'bedside[…]'` brings, read from the package's own metadata, so that it is declared once."""

import re
from functools import cache
from importlib.metadata import requires

REQUIREMENT = re.compile(r"""([A-Za-z0-9._-]+)(?P<self>\[)?.*extra == ['"](\w+)['"]""")


@cache
def extras() -> dict[str, tuple[str, ...]]:
    """Extra → names of its distributions; extras that only gather others are left out."""
    found: dict[str, list[str]] = {}
    for line in requires("bedside") or []:
        match = REQUIREMENT.match(line)
        if match and not match["self"]:
            found.setdefault(match[3], []).append(match[1])
    return {name: tuple(packages) for name, packages in found.items()}


def extra_of(module: str) -> str | None:
    """The extra that brings a module's distribution; None if none does, so that its lack is a bug."""
    name = module.partition(".")[0].replace("_", "-")
    return next((extra for extra, packages in extras().items() if extra != "dev" and name in packages), None)
