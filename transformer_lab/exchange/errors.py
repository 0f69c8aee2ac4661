"""Errors of export and import, as sentences for the user."""


class ImportRefusedError(ValueError):
    """A file that cannot be imported; the message says why. Nothing of it was kept."""


class ExportRefusedError(ValueError):
    """A run that cannot be written in the wanted form; the message says why."""
