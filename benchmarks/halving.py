"""What early stopping costs in score: a study's stopped trials, run on to their end.

Takes the folder of a study that has ended and was confirmed. Its stopped trials are run again with
the same settings and seed, to their last round. Then three figures say what ASHA saved and what it
missed: the share of rounds that were not run, the best trial with and without stopping, and the
spread between seeds of the best setting (from the confirmation's runs), on validation throughout.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ray import tune

from raymmfl import configfile, environment, history
from raymmfl.archive.store import Archive
from raymmfl.errors import CheckpointError
from raymmfl.tuning import record
from raymmfl.tuning.launch import Machine, actors, bundles, cluster, cohort, launch
from raymmfl.tuning.record import Recorded, Trial
from raymmfl.tuning.tables import in_words
from raymmfl.tuning.tally import Tally
from raymmfl.tuning.trial import Job, plain_config


@dataclass(frozen=True)
class Whole:
    """A trial as if nothing had stopped it.

    Attributes:
        trial: as it was in the study.
        value: of the objective after its last round.
    """

    trial: Trial
    value: float


def main() -> None:
    """Run the stopped trials on, print the comparison, write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("study", type=Path, help="folder of a confirmed study")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    chosen = parser.parse_args()
    recorded = record.read(chosen.study)
    folder = chosen.study.absolute() / "unstopped"
    _run_on(recorded, folder)
    found = _compare(recorded, folder)
    print(_words(recorded, found))
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        told = {"environment": environment.describe(1), **found}
        chosen.out.write_text(json.dumps(told, indent=1) + "\n")


def _run_on(recorded: Recorded, folder: Path) -> None:
    """Run every stopped trial to its end; those that were before are left as they are."""
    base = configfile.parse(recorded.facts["base"], str(recorded.folder / record.STUDY_FILE))
    stopped = [trial for trial in recorded.trials if trial.status == "pruned"]
    left = [trial for trial in stopped if not (folder / trial.name / "result.json").is_file()]
    if not left:
        return
    folder.mkdir(exist_ok=True)
    plain, objectives, home = plain_config(base), tuple(recorded.objectives), Path.cwd()
    jobs = [Job(plain, each.settings, folder / each.name, objectives, home) for each in left]
    machine = Machine()
    archive = Archive.open(base.archive.path, base.archive.coarsest_m)
    with cluster(machine, print):
        count = actors(base, cohort(base, archive), machine)
        launch(
            lambda config: jobs[config["job"]],
            machine,
            bundles(base.resources, count),
            folder,
            {},
            lambda config, result: None,
            print,
            param_space={"job": tune.grid_search(list(range(len(jobs))))},
        )


def _compare(recorded: Recorded, folder: Path) -> dict[str, Any]:
    """What was saved, and what the best is with and without stopping."""
    metric, aim = next(iter(recorded.objectives.items()))
    whole = [_whole(recorded, trial, folder) for trial in recorded.trials]
    way = 1 if aim == "max" else -1
    best = max(whole, key=lambda each: way * each.value)
    kept = recorded.ranked()[0]
    done, wanted = recorded.rounds()
    seeds = _seeds(recorded, kept, metric)
    return {
        "metric": metric,
        "trials": len(whole),
        "stopped": sum(trial.status == "pruned" for trial in recorded.trials),
        "rounds": {"run": done, "whole": wanted},
        "saved": 1 - done / wanted,
        "best_with_stopping": {"trial": kept.number, "value": kept.values[0]},
        "best_without": {"trial": best.trial.number, "value": best.value},
        "gap": way * (best.value - kept.values[0]),
        "seeds_of_the_kept": {"values": seeds, "mean": mean(seeds), "sd": stdev(seeds)},
        "values": {each.trial.name: each.value for each in whole},
    }


def _whole(recorded: Recorded, trial: Trial, folder: Path) -> Whole:
    """A trial's value after its last round, in the study or in its run to the end."""
    if trial.status == "finished":
        return Whole(trial, trial.values[0])
    lines = history.read(folder / trial.name / "history.jsonl")
    tally = Tally(recorded.objectives)
    values = [tally.add(line) for line in lines]
    if not values or len(lines) != recorded.facts["base"]["rounds"]:
        raise CheckpointError(f"{folder / trial.name} did not run to its end; start again")
    return Whole(trial, values[-1][0])


def _seeds(recorded: Recorded, trial: Trial, metric: str) -> list[float]:
    """The last validation score of a setting with each seed of the confirmation."""
    found = []
    for run in sorted((recorded.folder / "confirm").glob(f"{trial.name}-seed*")):
        found.append(float(history.read(run / "history.jsonl")[-1]["metrics"][metric]))
    if len(found) < 2:
        raise CheckpointError(
            f"{recorded.folder} was not confirmed; raymmfl tune ... --resume --confirm 5"
        )
    return found


def _words(recorded: Recorded, found: dict[str, Any]) -> str:
    rounds, seeds = found["rounds"], found["seeds_of_the_kept"]
    kept, best = found["best_with_stopping"], found["best_without"]
    within = "within" if found["gap"] <= seeds["sd"] else "NOT within"
    named = in_words(recorded.trials[best["trial"]].settings)
    return (
        f"{found['trials']} trials, {found['stopped']} stopped early: {rounds['run']} of "
        f"{rounds['whole']} rounds were run, {found['saved']:.0%} saved\n"
        f"best with stopping: trial {kept['trial']}, {found['metric']} {kept['value']:.4f}\n"
        f"best of the same trials run to the end: trial {best['trial']}, {best['value']:.4f} "
        f"({named})\n"
        f"gap {found['gap']:.4f}, {within} the spread over {len(seeds['values'])} seeds of the "
        f"setting that was kept: {seeds['mean']:.4f} +- {seeds['sd']:.4f}"
    )


if __name__ == "__main__":
    main()
