"""What a poll sends: of the parts of the page only those that changed since the last one.

The page holds a digest of every part it has; it comes back with each poll.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from dash import no_update
from plotly.utils import PlotlyJSONEncoder


def written(part: Any) -> str:
    """A part of the page as JSON."""
    return json.dumps(part, cls=PlotlyJSONEncoder, sort_keys=True)


def digest(part: Any) -> int:
    """A short number that changes when a part of the page does."""
    return zlib.crc32(written(part).encode())


def changed(parts: Mapping[str, Any], seen: object) -> tuple[dict[str, Any], dict[str, int]]:
    """What to send of `parts`, by name, `no_update` where the page has it; and what it has then.

    `seen` is what the page sent back: the digests of the last call, or anything at all. A part that
    is `no_update` stays as it is.
    """
    before = seen if isinstance(seen, dict) else {}
    digests = {
        name: before.get(name, 0) if part is no_update else digest(part)
        for name, part in parts.items()
    }
    fresh = {
        name: no_update if before.get(name) == digests[name] else part
        for name, part in parts.items()
    }
    return fresh, digests
