"""Keys for a simulated folder, and an eye on their use: no nonce comes twice (docs/protocol.md, section 3.9)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import partial

import msgspec

from hanas_core.volume.encryption import Cipher, Encryption, Keys, parse
from tests.sim.mount import Mount
from tests.sim.world import World

_PART = 0.3
"""Part of the runs with encryption."""
_LINES = ("a1" * 32, "b2" * 32)
_Uses = dict[tuple[str, str, int], tuple[bytes, bytes]]
"""What was encrypted, by what the file is and how it is encrypted, which fix the data key, and by the offset."""


class _WatchedCipher(Cipher):
    def __init__(self, inner: Cipher, data_key: tuple[str, str], world: World, uses: _Uses) -> None:
        self._aead = inner._aead
        self._data_key = data_key
        self._world, self._uses = world, uses

    def encrypt(self, offset: int, content: bytes | memoryview, about: bytes = b"") -> tuple[memoryview, memoryview]:
        present = (bytes(content), about)
        if self._uses.setdefault((*self._data_key, offset), present) != present:
            self._world.accuse(f"{self._data_key[0]}: offset {offset} was encrypted twice, with other content")
        return super().encrypt(offset, content, about)


class _WatchedKeys(Keys):
    def __init__(self, keys: Keys, world: World, uses: _Uses) -> None:
        super().__init__(keys._masters, keys.current)
        self._world, self._uses = world, uses

    def cipher(self, encryption: Encryption | msgspec.UnsetType, about: str, name: str) -> Cipher | None:
        inner = super().cipher(encryption, about, name)
        if inner is None or isinstance(encryption, msgspec.UnsetType):
            return None
        return _WatchedCipher(inner, (about, f"{encryption.key} {encryption.salt}"), self._world, self._uses)


class Vault:
    """Two keys. The second one replaces the first, or no encryption at all, in the middle of a run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._uses: _Uses = {}
        chance = random.Random(f"{world.seed} vault")  # its own: the runs without encryption stay what they were
        self.on = chance.random() < _PART
        self._first: int | None = chance.choice((None, 0))
        self._moments = [chance.uniform(0.5, 4.0) for _ in range(8)]

    def keys(self, current: int | None, lines: Iterable[int] = (0, 1)) -> Keys:
        """Return keys: the lines that a member has, and which of them it writes with; None: plain."""
        order = sorted(lines, key=lambda line: line != current)
        keys = parse([*(("plain",) if current is None else ()), *(_LINES[line] for line in order)])
        return _WatchedKeys(keys, self._world, self._uses)

    def give(self, mounts: list[Mount]) -> None:
        """Give the keys to all, and rotate them later, at each machine at its own moment."""
        if not self.on:
            return
        for mount, moment in zip(mounts, self._moments, strict=False):
            mount.keys = self.keys(self._first)
            self._world.after(moment, partial(setattr, mount, "keys", self.keys(1)))
