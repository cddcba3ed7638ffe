"""Models that speak and models that score, behind two small protocols (`backend`).

    model = llamacpp.LlamaCpp(Path("model.gguf"), context=4096, slots=2)     # speaks: fast decoding
    model = hf.load_backend(base.folder, prompt, adapter=run_folder)         # speaks and scores likelihoods
    for event in model.stream(messages, GenerationOptions()):
        ...                                                                  # Delta, …, Delta, Generation

`budget` sees to an answer, `tokenizer` to the ids, `device` to the type, `choose` to what MODEL means.
"""
