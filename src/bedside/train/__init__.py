"""LoRA fine-tuning: rows → tokens with the completion marked → adapter in PEFT's own format.

    rows = batch.encode(examples, recipe.prompt, tokenizer, recipe.model.max_length).rows
    model = lora.attach(hf.load_model(base.folder, device.choose()), recipe.train, recipe.seed)
    learner = Learner(model, tokenizer.pad_token_id, recipe.train, recipe.model.max_length)
    metrics = loop.train(learner, rows, held_out, recipe.train, recipe.seed, folder)

Order of rows, learning rate and dropout are functions of (seed, step) alone. All else is in the checkpoint, so that a
resumed run ends with the same bytes as one that was never stopped.
"""
