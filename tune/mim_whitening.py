"""How strongly to link the sensors (MIM), and how to whiten (FW)? Poor trials end early."""

import optuna

from raymmfl.tuning.study import Stopping, Study


def space(trial: optuna.Trial) -> None:
    """Which modules are on, and only then their own hyperparameters."""
    algorithm = trial.suggest_categorical("algorithm", ["mf", "mf+fw", "mf+mim", "mf+fw+mim"])
    if "mim" in algorithm:
        trial.suggest_float("mim.weight", 0.01, 1.0, log=True)
        trial.suggest_float("mim.temperature", 0.1, 1.0)
        trial.suggest_categorical("model.projection", [32, 64, 128])
    if "fw" in algorithm:
        trial.suggest_categorical("whitening.positions", ["stem", "stem+stage1", "all"])
        trial.suggest_categorical("whitening.group_size", [2, 4, 8, 16])
        trial.suggest_float("whitening.eps", 1e-5, 1e-1, log=True)
        trial.suggest_float("whitening.momentum", 0.02, 0.5, log=True)


STUDY = Study(
    name="mim_whitening",
    base="configs/demo.yaml",
    space=space,
    objectives={"val/global/all/f1_macro": "max"},
    baselines=({"algorithm": "mf"}, {"algorithm": "mf+fw"}, {"algorithm": "mf+mim"}),
    trials=24,
    stopping=Stopping(first=3, keep=3),
)

if __name__ == "__main__":
    from raymmfl.cli.studies import main

    main(__file__)
