"""What xstf says of an image that it writes, so that it reads back as what it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SOFTWARE = "TIFFTAG_SOFTWARE"
_VARIABLE, _TIME, _DIM, _KIND, _LABELS = (
    "XSTF_VARIABLE", "XSTF_TIME", "XSTF_DIM", "XSTF_KIND", "XSTF_LABELS",
)  # fmt: skip


@dataclass(frozen=True)
class Own:
    """What xstf says of an image that it writes.

    Parameters
    ----------
    variable
        The name of the cube or of the variable of a Dataset; "" where bands are its variables.
    time
        The date, None for none.
    dim
        The name of the dim that bands are along, "" for none.
    kind
        Of the values that were given, as numpy has it: ``"f"`` for real numbers.
    whole
        Whether the labels of bands are whole numbers.
    """

    variable: str
    time: np.datetime64 | None
    dim: str
    kind: str
    whole: bool

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> Own | None:
        """Return what the tags of an image say; None if xstf did not write it."""
        if tags.get(SOFTWARE) != "xstf" or _KIND not in tags:
            return None
        time = tags.get(_TIME)
        return cls(
            tags.get(_VARIABLE, ""), None if time is None else np.datetime64(time, "ns"),
            tags.get(_DIM, ""), tags[_KIND], tags.get(_LABELS) == "whole",
        )  # fmt: skip

    def tags(self) -> dict[str, str]:
        """Return it as tags of an image."""
        said = {SOFTWARE: "xstf", _VARIABLE: self.variable, _DIM: self.dim, _KIND: self.kind}
        if self.time is not None:
            said[_TIME] = str(self.time)
            day, clock = str(self.time.astype("datetime64[s]")).split("T")
            said["TIFFTAG_DATETIME"] = f"{day.replace('-', ':')} {clock}"
        if self.whole:
            said[_LABELS] = "whole"
        return said
