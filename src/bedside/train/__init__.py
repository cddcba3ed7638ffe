"""LoRA fine-tuning: rows → tokens with the completion marked → adapter in PEFT's own format.

    encoded = batch.encode(examples, recipe.prompt, tokenizer, recipe.model.max_length)
    model = lora.attach(hf.load_model(base.folder, device), recipe.train, recipe.seed)
    metrics = loop.train(model, encoded.rows, recipe.train, recipe.seed, pad_id, folder)

Order of rows, learning rate and dropout are functions of (seed, step) alone, so a checkpoint is weights, optimiser
moments and a step number, and a resumed run ends with the same bytes as one that was never stopped.
"""
