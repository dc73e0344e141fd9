"""Searches: a study is many runs, each a trial on Ray, chosen by Optuna and stopped by Ray Tune.

Ray Tune reads its environment when it is used. What the user has set stays.
"""

import os

from raymmfl import runtime  # sets what Ray reads when it is imported

__all__ = ["runtime"]

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its progress tables; ours is a line per trial
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the run folders have it all
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # Ctrl+C is ours
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a failed trial has none
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")  # its snapshot is never read
os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "20")  # a stopped trial closes its actors
