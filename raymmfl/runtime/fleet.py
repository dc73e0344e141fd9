"""Hand a cohort's clients to the client actors, survive dead ones, add up their partial sums.

Runs inside the ServerActor. Since a client's round is a pure function, any actor can play any
client: an actor that dies costs the clients it had summed this round, which a fresh one plays
again with the same result.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError

from raymmfl.errors import RunError
from raymmfl.federation.aggregate import Partial, empty, merge
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Answer, Broadcast, Job, Record, Task

Handle = Any  # an actor handle or object reference of Ray, which has no types
DEATHS_PER_CLIENT = 3
DEAD = (RayActorError, OutOfMemoryError)  # the second: Ray itself killed it, memory was short
_LOST = (*DEAD, ObjectLostError)


class Fleet:
    """The client actors of a run, each replaced when it dies.

    Args:
        handles: living (or just dead) client actors.
        spawn: starts a fresh client actor.
        pinned: actor i plays client i only (``actors: per-client``).
    """

    def __init__(
        self, handles: Sequence[Handle], spawn: Callable[[], Handle], pinned: bool
    ) -> None:
        self.handles = list(handles)
        self.spawn = spawn
        self.pinned = pinned
        self.restarts = 0
        self._setting: Handle = None

    def prepare(self, setting: Setting) -> None:
        """Tell every actor the training that begins."""
        self.setting = setting
        self._setting = ray.put(setting)
        pending = [handle.prepare.remote(self._setting) for handle in self.handles]
        for index, reference in enumerate(pending):
            try:
                ray.get(reference)
            except _LOST:
                self._replace(index)

    def start(self) -> Any:
        """The untrained global state, from whichever actor answers."""
        return self._ask(lambda handle: handle.start.remote())

    def gather(
        self, attempt: tuple[int, ...], sent: Broadcast, tasks: Sequence[Task]
    ) -> tuple[Partial, dict[str, Record]]:
        """Play the tasks and return their total and records.

        Raises:
            RunError: naming the client whose code failed, or killed its process again and again.
        """
        reference = ray.put(sent)
        by_id = {task.client_id: task for task in tasks}
        weight = {task.client_id: len(self.setting.by_id[task.client_id].rows) for task in tasks}
        place = {client.client_id: i for i, client in enumerate(self.setting.clients)}
        # longest first, so that the last to finish is a short one
        todo = deque(sorted(by_id, key=lambda each: (-weight[each], each)))
        records: dict[str, Record] = {}
        summed: list[list[str]] = [[] for _ in self.handles]
        running: dict[Handle, tuple[int, str | None]] = {}  # reference -> (actor, client or sum)
        partials: dict[int, Partial] = {}
        deaths: dict[str, int] = {}
        while len(records) < len(by_id) or any(
            clients and index not in partials for index, clients in enumerate(summed)
        ):
            busy = {index for index, _ in running.values()}
            for index in range(len(self.handles)):
                if index in busy:
                    continue
                client_id = self._next(todo, index, place)
                if client_id is not None:
                    partials.pop(index, None)  # it had handed in its sum; it grows again
                    call = self.handles[index].play.remote(attempt, reference, by_id[client_id])
                    running[call] = index, client_id
                elif summed[index] and index not in partials:
                    running[self.handles[index].partial.remote(attempt)] = index, None
            (ready,), _ = ray.wait(list(running), num_returns=1)
            index, client_id = running.pop(ready)
            try:
                answer = ray.get(ready)
            except RayTaskError as error:
                raise _failure(client_id or f"actor {index}", error) from None
            except _LOST:
                lost = [*summed[index], *([client_id] if client_id else [])]
                what = f"plays client {client_id}" if client_id else "hands in a sum"
                deaths[what] = deaths.get(what, 0) + 1
                if deaths[what] >= DEATHS_PER_CLIENT + (0 if client_id else len(self.handles)):
                    raise RunError(
                        f"round {sent.round}: the process that {what} died {deaths[what]} times; "
                        f"is it short of memory? Fewer resources.actors or a smaller "
                        f"train.batch_size may help"
                    ) from None
                for each in summed[index]:
                    records.pop(each, None)
                summed[index] = []
                partials.pop(index, None)
                todo.extend(lost)
                self._replace(index)
                continue
            if client_id is None:
                partials[index] = answer
            else:
                records[client_id] = answer
                summed[index].append(client_id)
        found = [partials[index] for index, clients in enumerate(summed) if clients]
        return merge(found) if found else empty(self.setting.plan), records

    def score(self, state: Handle, jobs: Sequence[Job]) -> list[Answer]:
        """The answer to each job; the largest jobs first."""
        results: dict[int, Answer] = {}
        todo = deque(sorted(range(len(jobs)), key=lambda each: -len(jobs[each].rows)))
        running: dict[Handle, tuple[int, int]] = {}
        deaths = 0
        while len(results) < len(jobs):
            busy = {index for index, _ in running.values()}
            for index in range(len(self.handles)):
                if index not in busy and todo:
                    job = todo.popleft()
                    running[self.handles[index].score.remote(state, jobs[job])] = index, job
            (ready,), _ = ray.wait(list(running), num_returns=1)
            index, job = running.pop(ready)
            try:
                results[job] = ray.get(ready)
            except RayTaskError as error:
                raise _failure("scoring", error) from None
            except _LOST:
                deaths += 1
                if deaths >= DEATHS_PER_CLIENT + len(self.handles):
                    raise RunError(
                        f"scoring: client actors died {deaths} times; is memory short? A smaller "
                        f"evaluate.batch_size or fewer resources.actors may help"
                    ) from None
                todo.append(job)
                self._replace(index)
        return [results[index] for index in range(len(jobs))]

    def _next(self, todo: deque[str], index: int, place: dict[str, int]) -> str | None:
        if not self.pinned:
            return todo.popleft() if todo else None
        for client_id in todo:
            if place[client_id] % len(self.handles) == index:
                todo.remove(client_id)
                return client_id
        return None

    def _ask(self, call: Callable[[Handle], Handle]) -> Any:
        cause = ""
        for _ in range(DEATHS_PER_CLIENT):
            try:
                return ray.get(call(self.handles[0]))
            except RayTaskError as error:
                raise _failure("start", error) from None
            except _LOST as error:
                cause = str(error)
                self._replace(0)
        failure = RunError("client actors die as soon as they start; is memory short?")
        failure.add_note(cause)
        raise failure

    def _replace(self, index: int) -> None:
        self.restarts += 1
        handle = self.spawn()
        if self._setting is not None:
            handle.prepare.remote(self._setting)  # queued before whatever it is asked next
        self.handles[index] = handle


def _failure(who: str, error: RayTaskError) -> Exception:
    """The error behind a failed call; one that is not ours keeps its traceback as a note."""
    cause = error.cause
    if isinstance(cause, RunError):
        return cause
    failure = RunError(f"client {who} failed: {type(cause).__name__}: {cause}")
    failure.add_note(str(error))
    return failure
