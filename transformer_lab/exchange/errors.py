"""What can go wrong when a run leaves or arrives, as sentences for the one who asked."""


class ImportRefusedError(ValueError):
    """A file that is not taken in; the message says what is wrong with it. Nothing was kept."""


class ExportRefusedError(ValueError):
    """A run that cannot be written in the wanted form; the message says why."""
