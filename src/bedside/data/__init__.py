"""From somebody's rows to three splits: read, clean, split, count.

    examples = sources.read(recipe.data)          # medical-o1, PubMedQA, flashcards, … → records.Example
    prepared = prepare.prepare(examples, recipe.data, recipe.seed)
    prepare.write(prepared, folder)               # train.jsonl, validation.jsonl, test.jsonl, dropped.jsonl, stats.json
    test = prepare.load(folder, "test")

`read` knows files, `shapes` rows, `sources` data sets; `starter/` holds the embedded rows.
"""
