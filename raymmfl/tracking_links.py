"""Addresses of pages of MLflow's web interface (seen in version 3.17); standard library only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

# Without it MLflow opens on its side for language models.
_SIDE = {"workflowType": "machine_learning"}


@dataclass(frozen=True)
class Site:
    """An experiment in MLflow's web interface.

    Attributes:
        root: such as ``http://127.0.0.1:5000``.
        experiment: MLflow's id of it.
    """

    root: str
    experiment: str

    def run(self, run_id: str) -> str:
        """One run: its metrics, its configuration, its children."""
        return self._page(f"experiments/{self.experiment}/runs/{run_id}")

    def file(self, run_id: str, path: str) -> str:
        """A file of a run, shown beside all others."""
        return self._page(f"experiments/{self.experiment}/runs/{run_id}/artifacts/{quote(path)}")

    def table(self, study: str = "", metric: str = "", more_is_better: bool = True) -> str:
        """The table of all runs, or of a study's trials, in the order of a metric."""
        trials = f"tags.study = '{study}' and tags.role = 'trial'"
        query = {"searchFilter": trials} if study else {}
        if metric:
            query["orderByKey"] = f"metrics.`{metric}`"
            query["orderByAsc"] = "false" if more_is_better else "true"
        return self._page(f"experiments/{self.experiment}/runs", query)

    def curves(self, run_ids: Sequence[str], metrics: Sequence[str]) -> str:
        """Metrics of runs over the rounds, in one picture."""
        query = {
            "runs": _json(run_ids),
            "metric": _json(metrics[0]),
            "experiments": _json([self.experiment]),
            "plot_metric_keys": _json(metrics),
            "x_axis": "step",
        }
        return self._page("metric", query)

    def comparison(self, run_ids: Sequence[str]) -> str:
        """Runs side by side, with parallel coordinates."""
        return self._page(
            "compare-runs", {"runs": _json(run_ids), "experiments": _json([self.experiment])}
        )

    def _page(self, path: str, query: dict[str, str] | None = None) -> str:
        # quotes and brackets would end the link where terminals make it one to click on
        encoded = urlencode((query or {}) | _SIDE, quote_via=quote, safe="/,")
        return f"{self.root}/#/{path}?{encoded}"


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
