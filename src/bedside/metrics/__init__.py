"""Pure functions from numbers to numbers; a metric of nothing raises.

    paired.mean_interval([1, 0, 1])              # (mean, (low, high))
    paired.compare(base, tuned, seed=42)         # difference, interval, p, detectable difference
    power.detectable(500)                        # smallest difference that 500 items show, before any is scored
    classification.classify(gold, said, labels, seed)   # strict score with bounds, macro-F1, confusion
    calibration.ece(confidence, right)           # with reliability bins, Brier scores, risk against coverage
    conformal.answer_sets(...)                   # sets that hold the right option as often as promised
    overlap.rouge("reference", "candidate")      # F1 in [0, 1]; bleu with its signature, exact match
    win_rate.win_rate(...)                       # which model is nearer to the reference, length taken into account

Every number that is drawn takes a seed, so that it can be computed again.
"""
