"""The table of algorithms: what each shares, whitens and links.

An algorithm is a value, not a class to inherit from. ``run(config, algorithm=Algorithm(...))``
takes one that is not in the table.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Algorithm:
    """What makes one algorithm differ from another.

    Attributes:
        name: as written in a configuration.
        summary: one line for ``raymmfl list``.
        source: the paper it comes from.
        tied: one encoder trunk for all sensors (only the stem is sensor-specific).
        whitening: FW, whitening layers instead of the first normalisations.
        mim: MIM, NT-Xent towards partners' embeddings of the same scene.
        shares: False keeps every array on its client.
        pooled: one client holds all training scenes of all sensors (a bound, not federated).
    """

    name: str
    summary: str
    source: str
    tied: bool = False
    whitening: bool = False
    mim: bool = False
    shares: bool = True
    pooled: bool = False


_METHOD = "Büyüktaş, Sumbul, Demir, arXiv 2503.10262"

ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            "fedavg",
            "FedAvg; each sensor its own stem, all the rest averaged over all clients",
            "McMahan et al., AISTATS 2017",
            tied=True,
        ),
        Algorithm("mf", "MF: an encoder per sensor, a head shared by all", _METHOD),
        Algorithm("mf+fw", "MF with feature whitening", _METHOD, whitening=True),
        Algorithm("mf+mim", "MF with mutual information maximization", _METHOD, mim=True),
        Algorithm("mf+fw+mim", "all three modules", _METHOD, whitening=True, mim=True),
        Algorithm("local", "each client alone (bound)", "no exchange", shares=False),
        Algorithm(
            "centralised", "one client holds everything (bound)", "no federation", pooled=True
        ),
    )
}
