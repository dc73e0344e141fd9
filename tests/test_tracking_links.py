"""Tests of the addresses of MLflow's pages; a browser opens them in test_mlflow_ui.py."""

from raymmfl.tracking_links import Site

SITE = Site("http://127.0.0.1:5000", "1")


def test_pages_of_a_run() -> None:
    run = "http://127.0.0.1:5000/#/experiments/1/runs/ab"
    assert SITE.run("ab") == f"{run}?workflowType=machine_learning"
    assert SITE.file("ab", "figures/a b.png") == (
        f"{run}/artifacts/figures/a%20b.png?workflowType=machine_learning"
    )


def test_the_table_of_runs() -> None:
    table = "http://127.0.0.1:5000/#/experiments/1/runs?"
    assert SITE.table() == f"{table}workflowType=machine_learning"
    assert SITE.table("sweep", "val/loss", more_is_better=False) == (
        f"{table}searchFilter=tags.study%20%3D%20%27sweep%27%20and%20tags.role%20%3D%20%27trial%27"
        "&orderByKey=metrics.%60val/loss%60&orderByAsc=true&workflowType=machine_learning"
    )


def test_pages_of_several_runs_have_no_sign_that_ends_a_link() -> None:
    assert SITE.comparison(["ab", "cd"]) == (
        "http://127.0.0.1:5000/#/compare-runs?runs=%5B%22ab%22,%22cd%22%5D"
        "&experiments=%5B%221%22%5D&workflowType=machine_learning"
    )
    curves = SITE.curves(["ab"], ["val/global/all/map", "val/global/S1/map"])
    assert "plot_metric_keys=%5B%22val/global/all/map%22,%22val/global/S1/map%22%5D" in curves
    assert "metric=%22val/global/all/map%22&" in curves
    assert not set(curves) & set(" \"'[]<>")
