"""The packages that serving needs, as a pip requirements file with the versions that are installed here.

In: the metadata of the installed packages, from bedside and its `serve` extra on. Out: text for `pip download` on a
connected machine, which says how a list with hashes is made there for `pip install --require-hashes` on one without a
network. Here no hash is known: RECORD has those of a wheel's files, direct_url.json (PEP 610) that of a wheel which did
not come from an index, and pip takes hashes for all packages of a list or for none.
"""

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

ROOT, EXTRA = "bedside", "serve"
NAMED = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[(?P<extras>[^\]]*)\])?")
FOR_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
LINES = """\
# What serving needs, for Python {python} on {system}. No hashes: an installed package keeps those of its files,
# not that of the wheel which brought them. The list with hashes is made where the wheels are downloaded.
# On a connected machine of that kind:
#   pip download -r wheels.txt -d wheels
#   sha256sum wheels/* | sed -E 's|^([0-9a-f]+) [ *](.*)|./\\2 --hash=sha256:\\1|' > hashed.txt
# On this one, which takes no other files than those:
#   pip install --no-index --no-deps --require-hashes -r hashed.txt
# If your package index has no bedside, put its own wheel into wheels/, too. On macOS it is `shasum -a 256`.
"""


def wheels_text() -> str:
    """The requirements file, bedside itself first."""
    found = needed()
    system = f"{platform.system()} {platform.machine()}"
    lines = [f"{name}=={number}\n" for name, number in sorted(found.items(), key=lambda one: (one[0] != ROOT, one[0]))]
    return LINES.format(python=".".join(platform.python_version_tuple()[:2]), system=system) + "".join(lines)


def needed() -> dict[str, str]:
    """{package: version} of bedside with its `serve` extra, and of all that these need and is installed."""
    waiting, seen, found = [(ROOT, EXTRA), (ROOT, "")], set(), {}
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # for another system or version of Python, or an extra that is not wanted
            continue
        waiting += [one for line in requires(name) or () for one in _asked(line, extra)]
    return found


def _asked(line: str, extra: str) -> list[tuple[str, str]]:
    """(package, extra of it) that a requirement asks for, once without an extra; nothing if it is not for `extra`."""
    what, _, marker = line.partition(";")
    named, wanted = NAMED.match(what.strip()), FOR_EXTRA.findall(marker)
    if named is None or (extra not in wanted if extra else wanted):
        return []
    name = re.sub(r"[-_.]+", "-", named["name"]).lower()
    extras = [one.strip() for one in (named["extras"] or "").split(",") if one.strip()]
    return [(name, one) for one in ("", *extras)]
