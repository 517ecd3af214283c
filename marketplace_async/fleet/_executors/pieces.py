"""The shards that wait for a worker: new ones, and those whose worker was lost."""

import math
from collections.abc import Iterable, Iterator

import attrs

from .._engine.shards import Approved, Shard
from ..connections import Target

# A shard whose worker was lost is handed out as a whole once more, then account by account.
_MAX_LOST_TOGETHER = 2
_MAX_LOST = 3

# Each piece reads its page of the account list again, which is one request.
_MIN_SPLIT = 10


@attrs.define(eq=False)
class Piece:
    """Accounts that a worker processes together.

    Attributes:
        targets: The accounts without a result, by SID.
        approved: What was approved for them.
        page: The link to their page.
        handouts: How many times they were handed to a worker.
        has_begun: Whether a worker has begun it since it was last handed out.
        lost: How many times their worker was lost.
        not_before: When they may be handed out again, in monotonic seconds.
    """

    targets: dict[str, Target]
    approved: Approved
    page: str | None
    handouts: int = 0
    has_begun: bool = False
    lost: int = 0
    not_before: float = 0.0

    @classmethod
    def of(cls, shard: Shard) -> "Piece":
        """Return a shard as a piece."""
        targets = {target.account_sid: target for target in shard.targets}
        return cls(targets, shard.approved, shard.page)

    def split(self, count: int) -> Iterator["Piece"]:
        """Yield at most `count` pieces of about the same size.

        Only the last one may have fewer than 10 accounts.
        """
        targets = tuple(self.targets.items())
        size = max(_MIN_SPLIT, math.ceil(len(targets) / count))
        for start in range(0, len(targets), size):
            yield attrs.evolve(self, targets=dict(targets[start : start + size]))

    @property
    def shard(self) -> Shard:
        """The accounts as a shard."""
        targets, approved = tuple(self.targets.values()), self.approved
        # Do not send what was approved for other accounts.
        part = Approved(
            {sid: approved.steps[sid] for sid in self.targets if sid in approved.steps},
            approved.with_problems & self.targets.keys(),
            approved.kept,
        )
        return Shard(targets, part, self.page)

    @property
    def is_alone(self) -> bool:
        """Whether it must run alone on a worker, because it may have crashed earlier ones."""
        return self.lost >= _MAX_LOST_TOGETHER

    @property
    def has_failed(self) -> bool:
        """Whether its workers were lost too often."""
        return self.lost >= _MAX_LOST

    def after_loss(self) -> Iterator["Piece"]:
        """Yield the pieces to hand out again after a worker was lost."""
        self.lost += 1
        if not self.is_alone or len(self.targets) == 1:
            yield self
            return
        for sid, target in self.targets.items():
            yield attrs.evolve(self, targets={sid: target})


@attrs.define
class Waiting:
    """Pieces that wait for a worker, in the order in which they are handed out."""

    _pieces: list[Piece] = attrs.field(factory=list)

    def __len__(self) -> int:
        return len(self._pieces)

    def add(self, pieces: Iterable[Piece]) -> None:
        """Add pieces."""
        self._pieces += pieces

    def next(self, now: float, *, alone: bool) -> Piece | None:
        """Remove and return the first piece that may be handed out now.

        Args:
            now: Monotonic seconds.
            alone: Whether to return a piece that must run alone, or one that need not.
        """
        for piece in self._pieces:
            if piece.is_alone is alone and piece.not_before <= now:
                self._pieces.remove(piece)
                return piece
        return None

    def has_due(self, now: float) -> bool:
        """Return whether a piece can be handed out now and need not run alone."""
        return any(not piece.is_alone and piece.not_before <= now for piece in self._pieces)

    def take_unstarted(self) -> list[Piece]:
        """Remove and return the pieces that were never handed out."""
        unstarted = [piece for piece in self._pieces if not piece.handouts]
        self._pieces = [piece for piece in self._pieces if piece.handouts]
        return unstarted

    def has_alone(self, now: float) -> bool:
        """Return whether a piece that must run alone may be handed out now."""
        return any(piece.is_alone and piece.not_before <= now for piece in self._pieces)

    def due(self, now: float) -> float | None:
        """Return the seconds until the next piece may be handed out. None if there is none."""
        later = [piece.not_before - now for piece in self._pieces if piece.not_before > now]
        return min(later, default=None)
