"""Threads that work on the daemon and stand still while it is away."""

import threading


class Workers:
    """`count` threads that call `work(NUMBER)` again and again; a subclass has it. They begin with `resume`.

    `problems`, under `lock`: what `work` has found.
    """

    def __init__(self, count):
        self.lock = threading.Lock()
        self.problems = []
        self._run = threading.Event()
        self._end = False
        self._idle = threading.Semaphore(0)
        self._threads = [threading.Thread(target=self._loop, args=(i,), daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def work(self, worker):
        raise NotImplementedError

    def resume(self):
        self._run.set()

    def pause(self, patience):
        """Returns when every worker stands still. For a daemon that is gone."""
        self._run.clear()
        for _ in self._threads:
            if not self._idle.acquire(timeout=patience):
                raise AssertionError("a client hangs although its daemon is gone")

    def stop(self, patience):
        self._end = True
        self._run.set()
        for thread in self._threads:
            thread.join(timeout=patience)

    def _loop(self, worker):
        stood = False
        while True:
            if not self._run.is_set() and not stood:
                self._idle.release()
                stood = True
            self._run.wait()
            if self._end:
                return
            stood = False
            self.work(worker)
