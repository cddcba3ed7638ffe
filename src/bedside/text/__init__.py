"""Prompts, chat templates, `<think>` blocks: how records become text and text becomes records.

    template = chat.template_for(section, model_template="", adds_bos=False)
    renderer = chat.Renderer(template, bos="", eos="</s>")
    rendered = chat.render_example(example, section, renderer)   # .prompt, .completion
    reasoning, answer = think.split(generated, opened=rendered.prompt.endswith(think.OPEN))

Nothing here knows a model: a template, its special tokens and records are all that goes in.
"""
