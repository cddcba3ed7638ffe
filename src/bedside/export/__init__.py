"""A trained adapter → one file that runs offline, the proof that it says the same, and what to tell about it.

    merge(base.folder, run.folder("adapter"), merged, recipe.prompt)       # W + scale·BA, tensor by tensor
    write_gguf(merged, folder / "demo-q8_0.gguf", "q8_0", "demo")          # llama.cpp, Ollama, LM Studio
    parity = check(merged, folder / "demo-q8_0.gguf", recipe.prompt, questions)
    file = metadata(folder / "demo-q8_0.gguf")
    renderer = Renderer(file.template, file.bos, file.eos)
    text = modelfile("demo-q8_0.gguf", recipe.prompt, renderer, file.adds_bos, [file.eos], context=4096)
    write_adapter_gguf(adapter, base, folder / "demo-adapter-f16.gguf", "demo")  # for those who hold the base's file
    readme = card(recipe, Evidence("SmolLM2-135M-Instruct", data=data_card, train=train, parity=parity.to_json()))

`merge`, `convert`, `parity`, `ollama`, `adapter_gguf`, `running` and `card` hold these; `tensors`, `adapter`,
`architecture`, `vocabulary`, `quantise`, `probe`, `modelfile` and `go_template` are what they are made of.
"""
