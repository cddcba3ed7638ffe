"""Pure functions from numbers to numbers; a metric of nothing raises.

    paired.mean_interval([1, 0, 1])              # (mean, (low, high))
    paired.compare(base, tuned, seed=42)         # difference, interval, p, detectable difference
    overlap.rouge_l("reference", "candidate")    # F1 in [0, 1]

Every interval and p value takes a seed, so that a number can be computed again.
"""
