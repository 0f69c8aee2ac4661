"""What can be wrong with a text."""

from transformer_lab.settings import ConfigError


class CorpusError(ConfigError):
    """A corpus that cannot be had or used; the message says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__("data.corpus", message)


class CorpusMissingError(CorpusError):
    """A known corpus that is neither on this computer nor reachable now."""
