"""A trained adapter → one file that runs offline, the proof that it says the same, and what to tell about it.

    merge(base.folder, run.folder("adapter"), merged, recipe.prompt)       # W + scale·BA, tensor by tensor
    write_gguf(merged, folder / "demo-q8_0.gguf", "q8_0", "demo")          # llama.cpp, Ollama, LM Studio
    parity = check(merged, folder / "demo-q8_0.gguf", recipe.prompt, questions)
    file = metadata(folder / "demo-q8_0.gguf")
    renderer = Renderer(file.template, file.bos, file.eos)
    text = modelfile("demo-q8_0.gguf", recipe.prompt, renderer, file.adds_bos, [file.eos], context=4096)
    take_evidence(folder, recipe, stages, {"base": base, "files": files, "parity": parity.to_json()})
    readme = card(Evidence.read(folder), listed(folder))                   # each number with the place it was read from
    seal(folder, listed(folder))                                           # SHA256SUMS over what may leave the run
    verify(folder), send(folder, "org/demo", public=False), pack(folder, Path("demo.tar.zst"))

`merge`, `convert`, `parity`, `ollama`, `release`, `card`, `verify`, `push` and `bundle` hold these; `tensors`,
`adapter`, `architecture`, `vocabulary`, `quantise`, `probe`, `cited` and `wheels` are what they are made of.
"""
