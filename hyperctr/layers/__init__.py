"""Parts that more than one paper uses; a part moves here when a second one needs it."""
