"""Loading Qiskit safely from whichever thread needs it first."""

from __future__ import annotations

import sys
import threading


def load_qiskit() -> None:
    """Import Qiskit; call it before an import of Qiskit that may be the process's first and not in its main thread.

    Its native code keeps state with the thread that loaded it. Once that thread has ended, reading QPY in another one
    crashes the process more often than not (segmentation fault; Qiskit 2.6.2). So if this is not the main thread, a
    thread that stays alive makes the import.
    """
    if "qiskit._accelerate" in sys.modules:
        return
    if threading.current_thread() is threading.main_thread():
        import qiskit  # noqa: F401  # pyright: ignore[reportUnusedImport]

        return
    with _first:
        if "qiskit._accelerate" not in sys.modules:
            loaded = threading.Event()
            threading.Thread(target=_load_and_stay, args=(loaded,), name="qflows-qiskit", daemon=True).start()
            loaded.wait()


_first = threading.Lock()


def _load_and_stay(loaded: threading.Event) -> None:
    try:
        import qiskit  # noqa: F401  # pyright: ignore[reportUnusedImport]
    finally:
        loaded.set()  # without Qiskit the caller's own import reports the error
    threading.Event().wait()
