"""What does accuracy cost? Macro-F1 against megabytes exchanged and against training FLOPs."""

import optuna

from raymmfl.tuning.study import Study


def space(trial: optuna.Trial) -> None:
    """Number formats on the wire, and how much is trained between two exchanges."""
    trial.suggest_categorical("wire.weights", ["float32", "float16", "int8"])
    trial.suggest_int("rounds", 5, 30)
    trial.suggest_int("train.epochs", 1, 5)
    trial.suggest_categorical("model.backbone", ["cnn", "resnet_small"])
    algorithm = trial.suggest_categorical("algorithm", ["mf", "mf+mim"])
    if "mim" in algorithm:
        trial.suggest_categorical("wire.embeddings", ["float32", "float16", "int8"])
        trial.suggest_categorical("model.projection", [16, 32, 64, 128])


STUDY = Study(
    name="accuracy_vs_bytes",
    base="configs/demo.yaml",
    overrides=("algorithm=mf+mim",),
    space=space,
    objectives={"val/global/all/f1_macro": "max", "mb": "min", "flops": "min"},
    baselines=({"algorithm": "mf"}, {"wire.weights": "int8", "wire.embeddings": "int8"}),
    trials=32,
    stopping=None,
)

if __name__ == "__main__":
    from raymmfl.cli.studies import main

    main(__file__)
