"""The errors a user can cause or meet, each with the exit code of the command line.

Exit codes: 0 all well, 1 our bug, 2 the user's input, 3 the environment (disk, cluster),
130 Ctrl+C.
Every message says what was wrong (the value), where (file, key, client) and what to do.
"""


class RaymmflError(Exception):
    """Base of every error raymmfl raises on purpose."""

    exit_code = 2


class ConfigError(RaymmflError):
    """A configuration file or override that cannot be used."""


class ArchiveError(RaymmflError):
    """Source rasters or a packed archive that are missing, damaged or contradictory."""


class PartitionError(RaymmflError):
    """Clients that cannot be made from this archive."""


class ResourceError(RaymmflError):
    """More processors, graphics cards or actors asked for than the cluster has."""

    exit_code = 3


class CheckpointError(RaymmflError):
    """A run folder that exists already, or holds no whole checkpoint."""


class UpdateRefused(RaymmflError):
    """An update that must not enter the sum: undeclared, misshapen, not finite, too large."""


class RunError(RaymmflError):
    """A run that cannot go on, with the client or round that ended it."""

    exit_code = 3


class PredictionError(RaymmflError):
    """A map that cannot be made: a run without one whole model, rasters that do not fit it."""
