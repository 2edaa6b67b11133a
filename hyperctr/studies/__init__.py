"""The papers' tables and figures as commands: a package a paper, one runner for all of them."""
