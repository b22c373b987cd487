"""One driver a run: an object that says who has it, renewed as long as that process lives."""

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from obstore.exceptions import AlreadyExistsError, PreconditionError

from mva_ray.errors import RunError
from mva_ray.run_dir.patience import is_away, patiently
from mva_ray.run_dir.place import object_store

NAME = "lease.json"
TIME_S, BEAT_S = 60.0, 10.0
"""How long a lease lasts without being renewed, and how often it is."""


class Lease:
    """The right to be the driver of the run at a URL.

    A lease that is not expired may be that of a driver that was killed: whoever wants it watches whether it is renewed,
    and takes it over when it has expired, or at once where its process was of this machine and is gone. Every put is
    conditional, so that clocks that differ may cost a driver its lease, and never give one lease to two.

    Args:
        url: of the run.
        time_s: how long it lasts.
        beat_s: how often it is renewed.
    """

    def __init__(self, url: str, time_s: float = TIME_S, beat_s: float = BEAT_S) -> None:
        self._url, self._time_s, self._beat_s = url, time_s, beat_s
        self._owner = uuid.uuid4().hex
        self._version: Mapping[str, Any] = {}
        self._ended = threading.Event()
        self._lost: str | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold it as long as the context lasts.

        Raises:
            RunError: another driver has it, or has taken it over: the main thread is interrupted then.
        """
        self._take()
        beat = threading.Thread(target=self._beat, daemon=True)
        beat.start()
        try:
            yield
            self._check()
        except KeyboardInterrupt:
            self._check()
            raise
        finally:
            self._ended.set()
            beat.join()
            self._give_back()

    def _check(self) -> None:
        if self._lost:
            raise RunError(self._lost) from None

    def _take(self) -> None:
        waited_for: str | None = None
        while True:
            held = self._read()
            if held is None and self._put("create"):
                return
            if held is None:
                continue
            lease, version = held
            if lease["owner"] == self._owner:  # the answer to an earlier try was lost
                self._version = version
                return
            if lease["expires"] <= time.time() or _is_gone(lease):
                if self._put(version):
                    return
                continue
            if waited_for not in (None, str(version)):
                raise RunError(f"another driver is at work in {self._url}: {_who(lease)}; wait for it, or end it")
            if waited_for is None:
                left = lease["expires"] - time.time()
                print(
                    f"{_who(lease)} holds {self._url}: waiting for at most {left:.0f} s whether it is alive", flush=True
                )
            waited_for = str(version)
            time.sleep(min(1.0, self._beat_s))

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_s):
            try:
                kept = self._put(self._version, patient=False)
            except Exception as error:  # of several libraries; nobody can take it over while the store is away
                if is_away(error):
                    continue
                kept = False
            if not kept and not self._is_ours():
                return

    def _is_ours(self) -> bool:
        """After a put that was refused: the answer to an earlier one may be lost."""
        held = self._read()
        if held and held[0]["owner"] == self._owner:
            self._version = held[1]
            return True
        who = _who(held[0]) if held else "nobody"
        self._lost = f"{self._url} is held by {who} now: this driver was away for too long, and stops"
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        return False

    def _give_back(self) -> None:
        with suppress(Exception):  # it expires by itself
            held = self._read(patient=False)
            if held and held[0]["owner"] == self._owner:
                object_store(self._url).delete(NAME)

    def _read(self, patient: bool = True) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The lease and its version; one that cannot be read has expired."""

        def read() -> tuple[bytes, Any]:
            found = object_store(self._url).get(NAME)
            return bytes(found.bytes()), found.meta

        try:
            content, meta = patiently(self._url, read) if patient else read()
        except FileNotFoundError:
            return None
        lease: dict[str, Any] = {"owner": "", "host": "unknown", "boot": "", "pid": 0, "expires": 0.0}
        with suppress(ValueError, TypeError):
            lease |= json.loads(content)
        return lease, version_of(meta)

    def _put(self, mode: Any, patient: bool = True) -> bool:
        expires = time.time() + self._time_s
        lease = {"owner": self._owner, **_here(), "pid": os.getpid(), "expires": expires}

        def put() -> Any:
            return object_store(self._url).put(NAME, json.dumps(lease).encode(), mode=mode)

        try:
            self._version = version_of(patiently(self._url, put) if patient else put())
            return True
        except (AlreadyExistsError, PreconditionError):
            return False


def _here() -> dict[str, str]:
    """This machine since it was started; containers of one machine have names of their own."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return {"host": socket.gethostname(), "boot": boot.read_text().strip() if boot.exists() else ""}


def _is_gone(lease: Mapping[str, Any]) -> bool:
    here = _here()
    ours = bool(here["boot"]) and all(lease[name] == value for name, value in here.items())
    return ours and not Path("/proc", str(lease["pid"])).exists()


def _who(lease: Mapping[str, Any]) -> str:
    return f"process {lease['pid']} on {lease['host']}"


def version_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """What names the version of an object that was put or found, as conditional puts want it."""
    return {name: result[name] for name in ("e_tag", "version") if result.get(name)}
