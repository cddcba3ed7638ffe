"""`python -m bedside` is the command line."""

from bedside.cli import main

main()
