"""Generators of the chat data: one file per skill, each a function rng -> list of (question, answer)."""
