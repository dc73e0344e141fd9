"""The server's side of a round: whom to ask, what to send, how to merge. NumPy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

from raymmfl.errors import RunError
from raymmfl.federation.aggregate import Flat, Partial, finish
from raymmfl.federation.exchange import Bank, pack
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Broadcast, Memory, Record, Task
from raymmfl.federation.wire import encode
from raymmfl.seeds import generator


@dataclass
class State:
    """All that round t+1 reads.

    Attributes:
        round: rounds finished.
        flat: the global state.
        bank: MIM's embeddings.
        memory: per client, what it kept; written by the client, carried by the server.
    """

    round: int
    flat: Flat
    bank: Bank
    memory: dict[str, Memory] = field(default_factory=dict)


@dataclass
class Outcome:
    """What a round reports.

    Attributes:
        cohort: the clients asked.
        records: one per client of the cohort, in the cohort's order.
        restarts: workers that died and were replaced.
        warnings: sentences for the history.
    """

    round: int
    cohort: list[str]
    records: list[Record]
    restarts: int
    warnings: list[str]


def choose(setting: Setting, round_index: int) -> list[str]:
    """The round's cohort, in client order: all clients, or a seeded share of them."""
    ids = [client.client_id for client in setting.clients]
    count = ceil(setting.config.clients.fraction * len(ids))
    if count == len(ids):
        return ids
    random = generator(setting.config.seed, round_index, "cohort")
    return [ids[index] for index in sorted(random.choice(len(ids), count, replace=False))]


def broadcast(setting: Setting, state: State) -> Broadcast:
    """The global state, encoded for the way down."""
    plan = setting.plan
    blocks = [plan.spans[slot.name] for slot in plan.shared() if slot.kind == "weights"]
    weights = encode(state.flat.weights, setting.config.wire.weights, blocks)
    return Broadcast(state.round + 1, weights, state.flat.moments, state.flat.counters)


def tasks(setting: Setting, state: State, cohort: Sequence[str]) -> list[Task]:
    """What is addressed to each client of the cohort: shares, partners' embeddings, its memory."""
    sensors = {sensor for each in cohort for sensor in setting.by_id[each].sensors}
    totals = {sensor: setting.total(cohort, sensor) for sensor in [None, *sensors]}
    made = []
    for client_id in cohort:
        client = setting.by_id[client_id]
        inbox = state.bank.inbox(
            client.sensors, client.rows, state.round + 1, setting.config.mim.max_age
        )
        parcels = {
            sensor: pack(embeddings, setting.config.wire.embeddings)
            for sensor, embeddings in inbox.items()
        }
        weight = setting.weight(client_id)
        shares = {sensor: weight / totals[sensor] for sensor in [None, *client.sensors]}
        made.append(Task(client_id, parcels, state.memory.get(client_id, {}), shares))
    return made


def server_step(
    setting: Setting,
    state: State,
    cohort: Sequence[str],
    total: Partial,
    records: Mapping[str, Record],
    restarts: int = 0,
) -> tuple[State, Outcome]:
    """Merge a round: MF by the plan, FW by moments, MIM by the bank.

    Raises:
        RunError: if no client's update was accepted.
    """
    round_index = state.round + 1
    ordered = [records[client_id] for client_id in cohort]
    accepted = [record.client_id for record in ordered if record.refused is None]
    reasons = [f"client {r.client_id}: {r.refused}" for r in ordered if r.refused is not None]
    if not accepted:
        raise RunError(
            f"round {round_index}: no update was accepted ({'; '.join(reasons)}); "
            f"a smaller train.lr usually helps"
        )
    assert sorted(total.clients) == sorted(accepted), "the sum holds exactly the accepted clients"
    warnings = [f"round {round_index}: update refused, {reason}" for reason in reasons]
    shares: dict[str | None, float] = {}
    for sensor in [None, *sorted({s for each in cohort for s in setting.by_id[each].sensors})]:
        shares[sensor] = setting.total(accepted, sensor) / setting.total(cohort, sensor)
        if shares[sensor] == 0.0:
            warnings.append(
                f"round {round_index}: no update for {sensor}; its encoder is unchanged"
            )
    flat = finish(setting.plan, total, shares, state.flat)
    outcome = Outcome(round_index, list(cohort), ordered, restarts, warnings)
    return advance(state, flat, outcome), outcome


def advance(state: State, flat: Flat, outcome: Outcome) -> State:
    """The state after a round, from its merged arrays and what the accepted clients said.

    The driver keeps its own copy of the state by this: the server sends it the new weights and
    the records, not the whole bank.
    """
    memory = dict(state.memory)
    for record in outcome.records:
        if record.refused is None:
            memory[record.client_id] = record.memory
            for sensor, parcel in record.embeddings.items():
                state.bank.store(sensor, parcel.open(), outcome.round)
    return State(outcome.round, flat, state.bank, memory)
