"""What `pip install 'bedside[…]'` brings, read from the package's own metadata, so that it is declared once."""

import re
from functools import cache
from importlib.metadata import requires

REQUIREMENT = re.compile(r"""([A-Za-z0-9._-]+).*extra == ['"](\w+)['"]""")
NOT_FOR_USERS = ("all", "dev")


@cache
def extras() -> dict[str, tuple[str, ...]]:
    """Extra → names of its distributions, without the one that gathers the others and the one for developers."""
    found: dict[str, list[str]] = {}
    for line in requires("bedside") or []:
        match = REQUIREMENT.match(line)
        if match and match[2] not in NOT_FOR_USERS and match[1] != "bedside":
            found.setdefault(match[2], []).append(match[1])
    return {name: tuple(packages) for name, packages in found.items()}


def extra_of(module: str) -> str | None:
    """The smallest extra that brings a module's distribution; None if none does, so that its lack is a bug."""
    name = module.partition(".")[0].replace("_", "-")
    bring = [extra for extra, packages in extras().items() if name in packages]
    return min(bring, key=lambda extra: len(extras()[extra]), default=None)
