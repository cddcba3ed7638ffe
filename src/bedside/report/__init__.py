"""The one page that a run is judged by: `report.html`, self-contained, for people who were not there.

    material = collect.collect(Path("runs/demo"))       # what the finished stages have written
    write_text(Path("runs/demo/report.html"), page.render(material))

`tasks`, `verdict`, `settings` and `parity` put numbers into words; `numbers` writes them.
"""
