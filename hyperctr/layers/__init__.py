"""Parts that more than one paper uses. A part moves here when a second paper needs it."""
