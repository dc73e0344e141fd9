"""The Ray runtime: one ServerActor, client actors with fractional CPUs and GPUs, their driver.

The driver makes all actors and hands the server the handles, so that a dead server is replaced
while the client actors live on. Clients never call the server back.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psutil
import ray
from ray.exceptions import RayTaskError

from raymmfl.config import ResourcesConfig
from raymmfl.errors import ResourceError, RunError
from raymmfl.federation.aggregate import Flat, Partial
from raymmfl.federation.exchange import Bank
from raymmfl.federation.server import (
    Outcome,
    State,
    advance,
    broadcast,
    choose,
    server_step,
    tasks,
)
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Answer, Broadcast, Job, Record, Task
from raymmfl.runtime.cluster import connect
from raymmfl.runtime.fleet import DEAD, Fleet, Handle
from raymmfl.runtime.memory import keep_freed_memory
from raymmfl.runtime.place import own_place
from raymmfl.runtime.resources import actor_count, idle_gpus

SERVER_ATTEMPTS = 3


class ClientActor:
    """One process that plays any client; torch is imported here and not by the server."""

    def __init__(self, archive_path: str, threads: int, gpu: bool) -> None:
        from raymmfl.runtime.worker import Worker

        keep_freed_memory()
        self.worker = Worker(archive_path, threads, gpu)

    def device(self) -> str:
        """Where this actor trains: ``cpu`` or ``cuda``."""
        return self.worker.device.type

    def prepare(self, setting: Setting) -> None:
        """Begin a training."""
        self.worker.prepare(setting)

    def start(self) -> Flat:
        """The untrained global state."""
        return self.worker.start()

    def play(self, attempt: tuple[int, ...], sent: Broadcast, task: Task) -> Record:
        """Train one client; its update stays here, in the partial sum."""
        return self.worker.play(attempt, sent, task)

    def partial(self, attempt: tuple[int, ...]) -> Partial:
        """The sum over the clients played in the attempt."""
        return self.worker.partial(attempt)

    def score(self, state: Flat, job: Job) -> Answer:
        """The answer to one job."""
        return self.worker.score(state, job)


class ServerActor:
    """Runs the rounds: MF averaging, FW moments, MIM exchange. Needs no CPU of its own."""

    def __init__(
        self, handles: Sequence[Handle], spawn: Callable[[], Handle], pinned: bool
    ) -> None:
        self.fleet = Fleet(handles, spawn, pinned)
        # a client actor may still play what a dead server asked: no two attempts are alike
        self.attempts = time.time_ns()
        self.told = 0  # restarts reported so far

    def prepare(self, setting: Setting, state: State | None) -> State:
        """Begin or continue a training."""
        self.setting = setting
        self.fleet.prepare(setting)
        # numpy arrays that come out of Ray's store are read-only; the bank is written to
        self.state = _own(state) if state else State(0, self.fleet.start(), Bank(setting.scenes))
        self._publish()
        return self.state

    def round(self) -> tuple[Flat, Outcome]:
        """One federated round: the merged arrays and what the clients reported."""
        self.attempts += 1
        cohort = choose(self.setting, self.state.round + 1)
        attempt = (self.state.round + 1, self.attempts)
        total, records = self.fleet.gather(
            attempt,
            broadcast(self.setting, self.state),
            tasks(self.setting, self.state, cohort),
        )
        restarts, self.told = self.fleet.restarts - self.told, self.fleet.restarts
        self.state, outcome = server_step(
            self.setting, self.state, cohort, total, records, restarts
        )
        self._publish()
        return self.state.flat, outcome

    def score(self, jobs: Sequence[Job]) -> list[Answer]:
        """The answer to each job with the current state."""
        return self.fleet.score(self._published, jobs)

    def handles(self) -> list[Handle]:
        """The client actors as they are now."""
        return self.fleet.handles

    def _publish(self) -> None:
        self._published = ray.put(self.state.flat)


class RayRuntime:
    """The driver's side: connects, checks what fits, makes the actors, replaces a dead server."""

    def __init__(
        self, archive_path: str, settings: ResourcesConfig, cohort: int, address: str | None = None
    ) -> None:
        """Connect to Ray and start the actors.

        Args:
            archive_path: absolute path of the packed archive.
            settings: actors and their fractions.
            cohort: clients of the largest cohort.
            address: of an existing cluster; None uses a running local one or starts one.

        Raises:
            ResourceError: if the actors do not fit, or the cluster does not answer.
        """
        self.owned = connect(address)
        self.place = own_place()
        try:
            self.workers = actor_count(
                settings,
                cohort,
                self.place.parts,
                psutil.virtual_memory().available / 2**30,
            )
        except ResourceError:
            self.close()
            raise
        client = ray.remote(ClientActor).options(
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            max_restarts=0,
            scheduling_strategy=self.place.clients,
        )
        arguments = (archive_path, settings.threads, settings.gpus > 0)

        def spawn() -> Handle:
            return client.remote(*arguments)

        self.spawn = spawn
        self.pinned = settings.actors == "per-client"
        self.handles = [spawn() for _ in range(self.workers)]
        self.server = self._new_server()
        self.gpus = settings.gpus
        self.setting: Setting | None = None
        self.state: State | None = None
        self._deaths = 0  # clients found dead with a dead server; the next round tells
        self._notes = idle_gpus(settings, self.place.parts)

    def prepare(self, setting: Setting, state: State | None) -> State:
        """Begin or continue a training; None starts from the untrained model."""
        if self.gpus and self.setting is None:
            self._notes += self._missing_gpus()
        self.setting = setting
        begun = self._call(lambda server: server.prepare.remote(setting, state), fresh=True)
        self.state = _own(begun)
        return self.state

    def round(self) -> tuple[State, Outcome]:
        """One federated round; a dead server is replaced and the round begun again."""
        assert self.state is not None
        flat, outcome = self._call(lambda server: server.round.remote())
        outcome = replace(
            outcome,
            restarts=outcome.restarts + self._deaths,
            warnings=[*self._notes, *outcome.warnings],
        )
        self._deaths, self._notes = 0, []
        self.state = advance(self.state, flat, outcome)
        return self.state, outcome

    def score(self, jobs: Sequence[Job]) -> list[Answer]:
        """The answer to each job with the current state."""
        found: list[Answer] = self._call(lambda server: server.score.remote(jobs))
        return found

    def close(self) -> None:
        """Stop the actors, and Ray if it was started here."""
        for handle in [*getattr(self, "handles", []), getattr(self, "server", None)]:
            if handle is not None:
                ray.kill(handle)
        if self.owned:
            ray.shutdown()

    def _missing_gpus(self) -> list[str]:
        """A line where Ray gave shares of GPUs that torch does not find."""
        with contextlib.suppress(*DEAD):  # the server replaces it
            if "cpu" in ray.get([handle.device.remote() for handle in self.handles]):
                return [
                    f"resources.gpus={self.gpus:g}, but torch finds no GPU: client actors train "
                    f"on the CPU (is it a CPU build of torch?)"
                ]
        return []

    def _call(self, call: Callable[[Handle], Handle], fresh: bool = False) -> Any:
        dead = False
        for _ in range(SERVER_ATTEMPTS):
            try:
                if dead:
                    self._revive(fresh)
                    dead = False
                return ray.get(call(self.server))
            except RayTaskError as error:
                cause = error.cause
                if isinstance(cause, RunError):
                    raise cause from None
                failure = RunError(f"the server failed: {type(cause).__name__}: {cause}")
                failure.add_note(str(error))
                raise failure from None
            except DEAD:
                dead = True
        raise RunError("the server actor died again and again; is memory short?")

    def _revive(self, fresh: bool) -> None:
        """A new server with the client actors that still live."""
        self._notes.append("the server actor died; a new one continues from the last round")
        living = [_alive(handle) for handle in self.handles]
        self._deaths += living.count(False)
        self.handles = [
            handle if lives else self.spawn()
            for handle, lives in zip(self.handles, living, strict=True)
        ]
        self.server = self._new_server()
        if not fresh and self.setting is not None:
            ray.get(self.server.prepare.remote(self.setting, self.state))

    def _new_server(self) -> Handle:
        server = ray.remote(ServerActor).options(
            num_cpus=0, max_restarts=0, scheduling_strategy=self.place.server
        )
        return server.remote(self.handles, self.spawn, self.pinned)


def _alive(handle: Handle) -> bool:
    try:
        ray.get(handle.__ray_ready__.remote())
    except DEAD:
        return False
    return True


def _own(state: State) -> State:
    bank = Bank(
        state.bank.scenes,
        {sensor: np.array(vectors) for sensor, vectors in state.bank.vectors.items()},
        {sensor: np.array(rounds) for sensor, rounds in state.bank.rounds.items()},
    )
    return State(state.round, state.flat, bank, dict(state.memory))
