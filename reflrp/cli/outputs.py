"""What the command line writes beside its text: explanations and pictures. Whether that can be done is asked before the work."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from reflrp.cli.arguments import usage
from reflrp.cli.inputs import split_name
from reflrp.ground.checks import listed, shown
from reflrp.storage.files import check_place

if TYPE_CHECKING:
    from reflrp.explanation import Explanation

PAGES = (".html", ".htm")
"""Endings of pictures that no library is needed for: pages of tokens."""


@dataclass(frozen=True)
class Files:
    """Where one explanation goes, and how its picture is to be drawn."""

    out: Path | None
    plot: Path | None
    tokens: Path | None
    name: str | None
    time_first: bool | None

    def of(self, suffix: str) -> Files:
        """Return the files of one of several targets: each has a name of its own."""
        return replace(self, out=_named(self.out, suffix), plot=_named(self.plot, suffix))

    def write(self, e: Explanation) -> list[Path]:
        """Write the explanation and its picture, and return where."""
        if self.out is not None:
            e.save(self.out)
        if self.plot is not None:
            self._draw(e, self.plot)
        return [path for path in (self.out, self.plot) if path is not None]

    @property
    def pictures_tokens(self) -> bool:
        """Whether the picture is one of tokens: where these are given, or a page is wanted."""
        return self.tokens is not None or self.name is not None or (self.plot is not None and is_page(self.plot))

    def _draw(self, e: Explanation, path: Path) -> None:
        from reflrp.show.tokens import labelled

        if self.pictures_tokens:
            labelled(e, self.tokens, self.time_first, self.name).save(path)
        else:
            e.plot(path, time_first=self.time_first)


def _named(path: Path | None, suffix: str) -> Path | None:
    return path.with_name(f"{path.stem}{suffix}{path.suffix}") if path is not None and path.name else path


def is_page(path: Path) -> bool:
    """Return whether a file is to be a page, and no picture."""
    return path.suffix.lower() in PAGES


def check(files: Sequence[Files], inputs: Sequence[str | Path]) -> None:
    """Refuse, before any work, files that cannot be written or that would overwrite an input."""
    first = files[0]
    for option, given in (("--tokens", first.tokens), ("--name", first.name)):
        if given is not None and first.plot is None:
            raise typer.BadParameter("the tokens are for a picture; give --plot", param_hint=option)
    check_picture("--plot", first.plot)
    check_places("--out or --plot", [p for f in files for p in (f.out, f.plot) if p is not None], inputs)
    check_ending("--out", first.out, (".npz",), "a picture is written by --plot")


def check_picture(option: str, path: Path | None) -> None:
    """Refuse a picture that cannot be drawn: its ending is no picture's, or there is no matplotlib, which a page does not need."""
    if path is not None and not is_page(path):
        from reflrp.show.figures import require_matplotlib

        with usage(option):
            require_matplotlib(path)


def check_ending(option: str, path: Path | None, known: Sequence[str], advice: str) -> None:
    """Refuse a file whose name ends otherwise than what is written there; one without an ending may be anything."""
    if path is not None and path.suffix and path.suffix.lower() not in known:
        raise typer.BadParameter(
            f"{path} ends in {shown(path.suffix)}, and what is written is {listed(list(known))}; {advice}",
            param_hint=option,
        )


def check_places(option: str, paths: Sequence[Path], inputs: Sequence[str | Path]) -> None:
    """Refuse files that cannot be written, that are to be written twice, or that would overwrite an input."""
    taken = {os.path.realpath(split_name(str(p))[0]) for p in inputs}
    for path in paths:
        place = os.path.realpath(path)
        if place in taken:
            raise typer.BadParameter(f"{path} is read or written already", param_hint=option)
        check_place(path)
        taken.add(place)


def check_tokens(files: Files, feeds: Mapping[str, np.ndarray], layers: bool) -> None:
    """Refuse, before the network runs, a name that is no input's, and a file of tokens that fits none of the inputs."""
    if files.name is not None and files.name not in feeds and not layers:
        raise typer.BadParameter(f"{shown(files.name)} is no input; use {listed(list(feeds))}", param_hint="--name")
    if files.tokens is None:
        return
    from reflrp.show.tokens import check_lines, read_lines

    named = [x for name, x in feeds.items() if name == files.name] or list(feeds.values())
    check_lines(files.tokens, read_lines(files.tokens), named)
