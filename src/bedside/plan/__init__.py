"""What a run will cost, before anything is spent: parameters, memory by part, disk, tokens, steps and time.

    setup = Setup(known.shape, recipe.model.quantise, recipe.train, machine, lengths)
    parts = memory.parts(setup)                  # bytes of weights, adapter, optimizer, activations, …
    advice.until_it_fits(setup, free_bytes)      # what to change, in order of least harm, with the memory it gives

Everything follows from the architecture (`models.shapes`) and the recipe. Only `calibrate` loads torch.
"""
