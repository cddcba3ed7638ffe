"""The private server: a web page for the clinician and an OpenAI-compatible API, from one speaker or several.

    app = create_app([speaker], settings, slots=2)               # `app`: the whole of it, as an ASGI app
    with listen(settings, keys) as listener:                     # `run`: opens the port, before the model is loaded
        serve(app, listener)                                     # prints the URL, blocks until Ctrl-C

A request goes `access` (is this caller let in, and how often?) → `wire` and `schema` (what is asked, and can it be
honoured?) → `desk` (wait for a seat, run the model in a thread) → `reply` (send what it says, stop it when the client
goes), written by one of the `forms`. Every refusal on that way is a `faults.Fault` in OpenAI's shape. `metrics` counts;
`audit` is told of every answer, without a word of it; `feedback` keeps what a person sends.
"""
