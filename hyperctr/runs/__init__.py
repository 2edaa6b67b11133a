"""One run and its folder: plan, prepare, train, open; and many runs in parallel."""
