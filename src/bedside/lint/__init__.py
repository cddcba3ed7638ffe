"""What is really trained, and every way in which it is wrong.

    subject = check.Subject(recipe, base, train, held)    # rows of the data stage, the model, what it is judged on
    report = check.lint(subject, measure_loss=True)       # .errors, .warnings, .allowed, .not_checked, .first
    check.row(subject, 3)                                 # row 3 as text, with what is trained set apart

Rows are rendered, tokenised and padded by the functions that training itself calls (`case`). Each rule is a small
function: over one row (`tokens`, `reasoning`, `answers`), or over what was gathered once (`lengths`, `shifted`,
`leaks`, `serving`, `weights`). `catalogue` says of each what it finds, why that hurts and how to mend it.
"""
