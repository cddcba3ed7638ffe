"""Train, prove and run a private medical reasoning model on hardware you own.

The whole way, from the shell:

    bedside demo                                     # embedded model and starter set, minutes on a laptop
    bedside run smollm2-medical-o1 data.path=my.jsonl
    bedside ask runs/smollm2-medical-o1 "What causes a raised JVP?"

A run is a folder of stages (`bedside.runs`); each stage reads directories and writes one directory.
A research tool and no medical device.
"""

import logging
from importlib.metadata import version

__version__ = version("bedside")

# On a CPU with bf16 bitsandbytes says, when it is imported, that a kernel from a hub is not there; it is not wanted.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
