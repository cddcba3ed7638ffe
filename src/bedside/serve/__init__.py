"""The private server: a web page for the clinician and an OpenAI-compatible API, around one speaker or several.

    with listen(settings, keys) as listener:                      # `run`: opens the port, before the model is loaded
        speaker = LlamaCpp(Path("model.gguf"), settings.context, slots=2)
        app = create_app([speaker], settings, slots=2, keys=keys)  # `app`: an ASGI app, for other servers too
        serve(app, listener)                                      # prints the URL, blocks until Ctrl-C

A request goes `access` (is this caller let in, and how often?) → `wire` (what is asked?) → `desk` (wait for a seat) →
`reply` (answer, stop when the client goes); every refusal on that way is a `faults.Fault` in OpenAI's shape. Neither
questions nor answers are stored or logged: the `audit` log holds their HMACs, and `feedback` what a person sent.
"""
