"""Charts: one pure function each, numbers in, a plotly Figure out."""
