"""From somebody's rows to three splits: read, clean, split, count.

    examples = sources.read(recipe.data)          # medical-o1, PubMedQA, flashcards, … → records.Example
    prepared = prepare.prepare(examples, recipe.data, recipe.seed, folder)      # train.jsonl, …, dropped.jsonl
    stats = prepared.statistics.to_json(prepared.contamination)
    test = prepare.load(folder, "test")

`read` knows files, `shapes` rows, `sources` data sets; `starter/` holds the embedded rows.
"""
