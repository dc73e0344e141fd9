"""The serial runtime: the same round in one process, for tests and debuggers."""

from collections.abc import Sequence

from raymmfl.errors import RaymmflError, RunError
from raymmfl.federation.exchange import Bank
from raymmfl.federation.server import Outcome, State, broadcast, choose, server_step, tasks
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Answer, Broadcast, Job, Record, Task
from raymmfl.runtime.worker import Worker


class SerialRuntime:
    """Plays every client in this process."""

    def __init__(self, archive_path: str, threads: int, gpu: bool = False) -> None:
        self.worker = Worker(archive_path, threads, gpu)
        self.workers = 1

    def prepare(self, setting: Setting, state: State | None) -> State:
        """Begin or continue a training; None starts from the untrained model."""
        self.setting = setting
        self.worker.prepare(setting)
        self.state = state or State(0, self.worker.start(), Bank(setting.scenes))
        return self.state

    def round(self) -> tuple[State, Outcome]:
        """One federated round."""
        cohort = choose(self.setting, self.state.round + 1)
        attempt = (self.state.round + 1,)
        sent = broadcast(self.setting, self.state)
        records = {
            task.client_id: self._play(attempt, sent, task)
            for task in tasks(self.setting, self.state, cohort)
        }
        total = self.worker.partial(attempt)
        self.state, outcome = server_step(self.setting, self.state, cohort, total, records)
        return self.state, outcome

    def score(self, jobs: Sequence[Job]) -> list[Answer]:
        """The answer to each job with the current state."""
        return [self.worker.score(self.state.flat, job) for job in jobs]

    def _play(self, attempt: tuple[int, ...], sent: Broadcast, task: Task) -> Record:
        try:
            return self.worker.play(attempt, sent, task)
        except RaymmflError:
            raise
        except Exception as error:
            what = f"client {task.client_id} failed: {type(error).__name__}: {error}"
            raise RunError(what) from error

    def close(self) -> None:
        """Nothing to stop."""
