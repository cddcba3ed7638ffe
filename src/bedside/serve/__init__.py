"""The private server: a web page for the clinician and an OpenAI-compatible API, from one speaker.

    with listen(settings) as listener:                           # `run`: opens the port, before the model is loaded
        speaker = LlamaCpp(Path("model.gguf"), settings.context, slots=2)
        serve(speaker, settings, listener, slots=2)              # prints the URL, blocks until Ctrl-C
    app = create_app(speaker, settings, slots=2)    # `app`: the same as an ASGI app, for tests and other servers

A request goes `access` (is this caller let in?) → `wire` (what is asked?) → `reply` (wait for a slot, answer, stop
when the client goes); every refusal on that way is a `faults.Fault` in OpenAI's shape. Neither questions nor answers
are stored or logged.
"""
