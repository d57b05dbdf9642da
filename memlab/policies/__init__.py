"""Policies turn prompts into completions: rules (`scripted`) and language models (`model`)."""
