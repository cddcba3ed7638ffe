"""The pages that a person judges by, each one self-contained file for people who were not there.

    material = collect.collect(Path("runs/demo"))       # what the finished stages have written
    write_text(Path("runs/demo/report.html"), page.render(material))
    write_text(folder / "report.html", data_page.render(stats, card))       # of the data stage alone

`tasks`, `verdict`, `settings`, `parity` and `findings` put numbers into words; `numbers` writes them. Both templates
extend `base.html.jinja`.
"""
