"""The parts of the tab Look inside: the text, and one module for each of its own tabs."""
