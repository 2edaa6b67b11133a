"""Figures and Markdown."""
