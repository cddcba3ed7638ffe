"""Base and tuned model on the same held-out items, and what the difference is worth.

items = tasks.select(recipe, test_split)                      # {task: items}, drawn by seed
run.evaluate(scorer, items, recipe, folder)                   # one row an item, scores.json
compare.compare(base_folder, tuned_folder, seed)              # paired by item: difference, interval, verdict
"""
