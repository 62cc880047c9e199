"""Commits to icechunk: what is written to it is seen by others when it is committed."""

from __future__ import annotations

import sys
from typing import Any

from xstf.store.place import Place


class Commits:
    """Commits to an icechunk repository, or to the session of a store.

    A session commits once, so a repository gives a new one for each commit; the store of a lone
    session gets one commit, at the end.
    """

    def __init__(self, repository: Any, store: Any) -> None:
        self.repository = repository
        self.store = store

    @classmethod
    def of(cls, target: Any) -> Commits | None:
        """Return what commits to a target; None for one that has no commits."""
        icechunk = sys.modules.get("icechunk")  # whose objects nobody has without it
        if icechunk is None:
            return None
        if isinstance(target, icechunk.Repository):
            return cls(target, target.writable_session("main").store)
        return cls(None, target) if isinstance(target, icechunk.IcechunkStore) else None

    def renew(self, place: Place) -> None:
        """Have a session that can be written to."""
        if self.repository is not None and place.store.session.read_only:
            place.store = self.repository.writable_session("main").store

    def commit(self, place: Place, message: str, *, last: bool = False) -> None:
        """Commit what was written."""
        session = place.store.session
        if (last or self.repository is not None) and session.has_uncommitted_changes:
            session.commit(message)
