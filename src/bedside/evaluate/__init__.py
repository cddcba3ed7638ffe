"""Base and tuned model on the same held-out items, and what the difference is worth.

    items = tasks.select(recipe, train, test)                     # {task: items}, drawn by seed
    run.evaluate(scorer, items, recipe, folder, label="base")     # one row an item, scores.json
    compare.compare(base_folder, tuned_folder, seed)              # paired by item: difference, interval, verdict

Every score is a row of a file, so that any two evaluations of the same items can be compared later.
"""
