"""Where clients run: one process, or Ray actors; the same bits either way.

Ray reads its environment when it is imported, which only modules of this package do: hence the
settings here. What the user has set stays.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "1")
# a dead actor is told by us in one line, not by Ray in a screenful
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed")

TOKEN = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
if "ray" not in sys.modules and (TOKEN.is_file() or "RAY_AUTH_TOKEN" in os.environ):
    # A local cluster asks for its token by itself; a cluster given by address only with this.
    # Too late where Ray is imported already: it would then refuse its own processes.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
