"""The verb of maps: classify rasters with the model of a run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import tyro

Flag = tyro.conf.arg
Words = tyro.conf.Positional[tuple[str, ...]]


def predict(
    run: Annotated[Path, tyro.conf.Positional, Flag(metavar="RUN")],
    rasters: Annotated[Words, Flag(metavar="SENSOR=FILE[,FILE...] ...")] = (),
    /,
    *,
    out: Annotated[Path, Flag(metavar="MAP.tif")],
    margin: Literal["auto", "exact"] = "auto",
    window: int = 512,
    overwrite: bool = False,
) -> None:
    """Classify co-registered RASTERS of any size with the final model of RUN, into a GeoTIFF.

    Example: raymmfl predict runs/demo S1=vv_vh.tif S2=10m.tif,20m.tif --out map.tif

    Args:
        run: a finished run's folder.
        rasters: files per sensor, in the units trained on; sensors may be left out, and a file
            may stand alone if its number of bands tells the sensor.
        out: the map; a picture (.png) and a table of areas (.csv) are written beside it.
        margin: exact for what whole-image inference gives; auto is faster for deep networks.
        window: pixels per side of what is classified at a time.
        overwrite: replace a map that exists.
    """
    from raymmfl.prediction.predict import predict as start

    with _bar() as progress:
        made = start(
            run, rasters, out, margin=margin, side=window, overwrite=overwrite, progress=progress
        )
    print("\n".join(made.bands))
    for warning in made.warnings:
        print(f"warning: {warning}")
    width = max(len(name) for name, *_ in made.areas)
    for name, pixels, km2, share in made.areas:
        area = "" if km2 is None else f"  {km2:12.3f} km2"
        print(f"  {name:<{width}}{area}  {pixels:12d} pixels  {share:6.1%}")
    print(f"map: {made.path}\npicture: {made.picture}\nareas: {made.table}")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    from tqdm import tqdm

    with tqdm(desc="classifying", unit="part", disable=None) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update
