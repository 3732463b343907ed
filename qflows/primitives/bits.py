"""From counts keys to Qiskit's `BitArray`: one row of packed bytes per shot, one array per classical register."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.primitives import BitArray, DataBin

from qflows.keys import digest, seed_of
from qflows.model import ItemResult

Registers = Sequence[Sequence[Any]]
"""Name and size of every classical register, in order of declaration."""


def data_bin(
    registers: Registers, shape: tuple[int, ...], shots: int, items: Sequence[ItemResult], seeds: Sequence[str]
) -> DataBin:
    """A `BitArray` of `shape` and `shots` for every register; all zero if nothing was measured (`items` empty).

    Within a register bit 0 is the least significant of the last byte. Shots are in the order of execution if the device
    reports it, otherwise in an order drawn from `seeds`, so that any slice of them is a fair sample.
    """
    rows = [_rows(item, shots, seed) for item, seed in zip(items, seeds, strict=True)]
    arrays: dict[str, Any] = {}
    stop = rows[0].shape[1] if rows else 0
    for name, size in registers:
        width = -(-size // 8)
        packed = np.zeros((len(rows), shots, width), dtype=np.uint8)
        for place, row in enumerate(rows):
            packed[place] = _packed(row[:, stop - size : stop])
        stop -= size + 1 if size else 0  # keys leave out registers without bits, and put a space between the others
        full = packed.reshape(*shape, shots, width) if rows else np.zeros((*shape, shots, width), dtype=np.uint8)
        arrays[name] = BitArray(full, size)
    return DataBin(**arrays, shape=shape)


def _rows(item: ItemResult, shots: int, seed: str) -> NDArray[np.uint8]:
    """The characters of every shot's key as 0 and 1, spaces as other numbers."""
    if _has_memory(item, shots):
        return _characters(item.memory or ())
    counts: Mapping[str, int] = item.counts or {}
    return np.repeat(_characters(tuple(counts)), list(counts.values()), axis=0)[_order(counts, seed)]


def keys_of_shots(item: ItemResult, shots: int, seed: str) -> Sequence[str]:
    """The key of every shot, in the order used by `data_bin`."""
    if _has_memory(item, shots):
        return item.memory or ()
    counts: Mapping[str, int] = item.counts or {}
    keys = [key for key, n in counts.items() for _ in range(n)]
    return [keys[place] for place in _order(counts, seed)]


def _has_memory(item: ItemResult, shots: int) -> bool:
    return item.memory is not None and len(item.memory) == shots


def _order(counts: Mapping[str, int], seed: str) -> NDArray[np.int64]:
    return np.random.default_rng(seed_of(digest("shot-order/1", seed))).permutation(sum(counts.values()))


def _characters(keys: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer("".join(keys).encode("ascii"), dtype=np.uint8).reshape(len(keys), -1) & np.uint8(1)


def _packed(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bits, most significant first, as bytes padded on the left."""
    padding = -bits.shape[1] % 8
    return np.packbits(np.pad(bits, ((0, 0), (padding, 0))), axis=1)
