"""The Fine-tune tab: a base learns from another text, and what came of it."""
