"""Look into a trained run: audit it for leaks, explain a score, read MIAN's and MARN's attention."""
