"""How a p value is written, wherever one is."""

import math

DASH = "\N{EN DASH}"


def probability(p: float | None) -> str:
    """A p value with three decimals, or "<0.001"; a dash where there is none."""
    if p is None or math.isnan(p):
        return DASH
    return "<0.001" if p < 0.001 else f"{p:.3f}"
