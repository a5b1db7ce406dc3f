"""Change values in YAML text, and leave every other line byte for byte as it is.

PyYAML reads and writes; what is ours is where in the text a value stands.
`parse` text -> `nodes` with positions -> `edits` at those positions -> `text`, read again
and checked. `style` has the scalars as kubectl reads them.
"""
