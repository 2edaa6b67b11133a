"""Measure scores: metrics, evaluation of a model on rows, significance over seeds."""
