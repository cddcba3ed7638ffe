"""A trained adapter → one file that runs offline, the proof that it says the same, and what to tell about it.

    merge(base.folder, run.folder("adapter"), merged, recipe.prompt)       # W + scale·BA, tensor by tensor
    write_gguf(merged, folder / "demo-q8_0.gguf", "q8_0", "demo")          # llama.cpp, Ollama, LM Studio
    file = metadata(folder / "demo-q8_0.gguf")
    text = modelfile("demo-q8_0.gguf", recipe.prompt, renderer_of(file), file.adds_bos, [file.eos], context=4096)
    write_adapter_gguf(adapter, base, folder / "demo-adapter-f16.gguf", "demo")  # for those who hold the base's file
    parity = check(Release(base.folder, adapter, …), rows, recipe.parity, chat_endpoint)  # before it leaves
    take_evidence(folder, recipe, stages, {"base": base, "files": files, "parity": parity.to_json()})
    readme = card(Evidence.read(folder), listed(folder))                   # each number with the place it was read from
    seal(folder, listed(folder))                                           # SHA256SUMS over what may leave the run
    verify(folder), send(folder, "org/demo", public=False), pack(folder, Path("demo.tar.zst"))

`merge`, `convert`, `parity`, `ollama`, `adapter_gguf`, `running`, `release`, `card`, `verify`, `push` and `bundle` hold
these. Below them: `tensors`, `adapter`, `architecture`, `vocabulary` and `quantise` (weights and tokens);
`conversations`, `readings`, `scales` and `agreement` (parity); `modelfile` and `go_template`, `cited` and `wheels`.
"""
