"""What a person types, one file a verb: load, do, save, say; no algorithms here.

The verbs that make something are stages of `pipeline`; the others (`ask`, `serve`, `runs`, `doctor`, `demo`) use what
was made.
"""
