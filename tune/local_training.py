"""How should a client train between two rounds? Optimiser, learning rate, epochs, batches."""

import optuna

from raymmfl.tuning.study import Stopping, Study


def space(trial: optuna.Trial) -> None:
    """Momentum belongs to SGD alone, whose learning rates are larger than Adam's."""
    optimizer = trial.suggest_categorical("train.optimizer", ["adam", "sgd"])
    trial.suggest_float("train.lr", 1e-4, 1e-1, log=True)
    if optimizer == "sgd":
        trial.suggest_float("train.momentum", 0.0, 0.95)
    trial.suggest_int("train.epochs", 1, 5)
    trial.suggest_categorical("train.batch_size", [16, 32, 64])
    trial.suggest_categorical("model.norm", ["batch", "group"])


STUDY = Study(
    name="local_training",
    base="configs/demo.yaml",
    space=space,
    objectives={"val/global/all/f1_macro": "max"},
    baselines=({"train.optimizer": "sgd", "train.lr": 0.03, "train.momentum": 0.9},),
    trials=24,
    stopping=Stopping(first=3, keep=3),
)

if __name__ == "__main__":
    from raymmfl.cli.studies import main

    main(__file__)
