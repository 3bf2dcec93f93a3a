"""Executes requested runs one after another in its own thread, so that closing or reloading a page does not end a run."""

import threading
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tta_core.errors import TTAError
from tta_core.running.folder import writable
from tta_core.values.arguments import error_text
from tta_plugins.studio.job import Job, State
from tta_plugins.studio.models import Models
from tta_plugins.studio.request import Request, execute


class Studio:
    """The queue of runs, and the folder in which they are saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = writable(folder).resolve()
        self._models = Models()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tta-studio")
        self._queue: list[Job] = []
        self._lock = threading.Lock()
        self._count = 0

    def run(self, request: Request) -> Iterator[State]:
        """Request a run and follow it: its state at each change. The last state has its folder, or the error."""
        yield from self.submit(request).changes()

    def submit(self, request: Request) -> Job:
        """Request a run, which begins when those before it have ended."""
        with self._lock:
            self._count += 1
            job = Job(self._count, request)
            job.become(ahead=len(self._queue))
            self._queue.append(job)
        self._worker.submit(self._work, job)
        return job

    @property
    def current(self) -> Job | None:
        """The running run, or the next to begin."""
        with self._lock:
            return self._queue[0] if self._queue else None

    def stop(self, number: int) -> None:
        """Stop a run. A run that has ended does not change."""
        with self._lock:
            for job in self._queue:
                if job.number == number:
                    job.stop()

    def close(self) -> None:
        """Stop all runs, and wait until their best so far is saved."""
        with self._lock:
            for job in self._queue:
                job.stop()
        self._worker.shutdown(wait=True)

    def _work(self, job: Job) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            try:
                ending = self._ending(job)
            except TTAError as error:
                ending = {"phase": "failed", "message": str(error)}
            except BaseException as error:
                traceback.print_exc()
                ending = {
                    "phase": "failed",
                    "message": f"{error_text(error)}. This is a defect; its traceback is in the terminal that runs `tta studio`.",
                }
        with self._lock:
            self._queue.remove(job)
            for place, waiting in enumerate(self._queue):
                waiting.become(ahead=place)
        job.become(**ending, ahead=0, notes=tuple(dict.fromkeys(str(warning.message) for warning in caught)))

    def _ending(self, job: Job) -> dict[str, object]:
        if job.stopped:
            return {"phase": "failed", "message": "Stopped before it began, so there is nothing to save."}
        job.become(phase="preparing", ahead=0)
        ended = execute(job.request, self._models, self.folder, job.interruption, job.watch)
        stopped = ended.alignment.stopped
        messages = [f"{stopped}; the best so far was saved." if stopped else "", "" if ended.failure is None else str(ended.failure)]
        return {"phase": "saved", "folder": ended.folder, "message": " ".join(filter(None, messages))}
