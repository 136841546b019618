"""`guardhouse serve` with a model that gives its tensor back: becomes that command.

`python -m benchmarks.guarded FOLDER COLLECTOR`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

COMMAND = Path(sys.executable).with_name("guardhouse")

if __name__ == "__main__":
    _settings = (
        "listen=127.0.0.1:0",
        f"tracing.endpoint=http://{sys.argv[2]}",
        "metrics.listen=127.0.0.1:0",
    )
    _sets = [part for each in _settings for part in ("--set", each)]
    os.execv(COMMAND, [str(COMMAND), "serve", f"{sys.argv[1]}/guardhouse.yaml", "--json", *_sets])
