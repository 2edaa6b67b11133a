"""Draw figures and write Markdown."""
