"""Numbers of the past: what the log says strictly before a row about its user, item, fields and their crosses."""
