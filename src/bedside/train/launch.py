"""Where several processes begin and end: torchrun and `accelerate launch` start the command in each of them.

The first one runs it. The others wait, without a word, for what it calls them to, and leave with its exit status.
"""

import os
from collections.abc import Callable


def together(command: Callable[[], int]) -> int:
    """The exit status of this process; `command` is run if there are no others, or if it is the first of them."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:  # torch is not loaded for this
        return command()
    from bedside.train.world import joined

    return joined().run(command)
