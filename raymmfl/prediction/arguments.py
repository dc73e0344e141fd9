"""Rasters as a person names them: ``S1=vv_vh.tif S2=b02.tif,b03.tif``, or a bare path."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from raymmfl.archive.rasters.mosaic import count_bands
from raymmfl.errors import PredictionError


def parse(arguments: Sequence[str], bands: Mapping[str, Sequence[str]]) -> dict[str, list[Path]]:
    """Files per sensor, in the model's order.

    Args:
        arguments: each ``SENSOR=PATH[,PATH...]``, or a path alone, if the number of its bands is
            that of one sensor only.
        bands: of each sensor of the model.

    Raises:
        PredictionError: nothing given, an unknown sensor, a sensor given twice, or a path alone
            that fits no sensor or several.
    """
    known = ", ".join(f"{sensor} ({len(names)} bands)" for sensor, names in bands.items())
    if not arguments:
        raise PredictionError(f"no raster was given; give SENSOR=PATH for one or more of {known}")
    found: dict[str, list[Path]] = {}
    for argument in arguments:
        sensor, equals, rest = argument.partition("=")
        if sensor not in bands:
            if equals and not Path(argument).exists():
                raise PredictionError(
                    f"{argument}: the model has no sensor {sensor!r}; choose from {known}"
                )
            sensor, rest = _sensor_of(argument, bands, known), argument
        if sensor in found:
            raise PredictionError(
                f"{argument}: {sensor} is given twice; join its files by commas: "
                f"{sensor}=a.tif,b.tif"
            )
        paths = [rest] if Path(rest).exists() else rest.split(",")
        if not all(paths):
            raise PredictionError(f"{argument}: an empty path; give {sensor}=PATH[,PATH...]")
        if len(set(paths)) < len(paths):
            raise PredictionError(f"{argument}: a file stands there twice; give each file once")
        found[sensor] = [Path(path) for path in paths]
    return {sensor: found[sensor] for sensor in bands if sensor in found}


def _sensor_of(path: str, bands: Mapping[str, Sequence[str]], known: str) -> str:
    count = count_bands(Path(path))
    fitting = [sensor for sensor, names in bands.items() if len(names) == count]
    if len(fitting) != 1:
        raise PredictionError(
            f"{path} has {count} band(s), which fits {' and '.join(fitting) or 'no sensor'}; say "
            f"which sensor it is, SENSOR={path}: the model has {known}"
        )
    return fitting[0]
