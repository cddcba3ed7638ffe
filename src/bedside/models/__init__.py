"""Where a base model comes from: the embedded one, a folder, a GGUF file, or a hub.

    base = locate.resolve(recipe.model)     # → Base(folder, name, digest); fetches or converts what is not there yet

Every base ends up as a folder in Hugging Face's layout (config.json, safetensors, tokenizer.json), so that the rest
of the house knows one kind only. Conversions are cached below `locate.cache_folder()`.
"""
