"""Features of items: modalities, columns, titles, past-only statistics."""
