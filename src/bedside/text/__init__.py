"""Prompts, chat templates, `<think>` blocks: how records become text and text becomes records.

template = chat.template_for("alpaca-think", "think", model_template="", adds_bos=False)
renderer = chat.Renderer(template, bos="", eos="</s>")
rendered = chat.render_example(example, prompt_section, renderer)   # .prompt, .completion
reasoning, answer = think.split(generated, opened=rendered.prompt.endswith(think.OPEN))
"""
