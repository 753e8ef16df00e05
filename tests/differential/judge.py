"""What becomes of a case: the end of each check, the faults, and what was refused."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import reflrp
from differential.case import Case
from differential.checks import CHECKS, Trial
from differential.evaluate import Failed
from differential.forward import Fault
from differential.generate import case as made
from differential.shrink import shrunk


@dataclass(frozen=True)
class Verdict:
    """How a case ended: check -> how, where "same" is a comparison that held; the faults; the operators that it has."""

    title: str
    ends: dict[str, str] = field(default_factory=dict)
    faults: tuple[tuple[str, str, str], ...] = ()
    operators: tuple[str, ...] = ()


def tried(case: Case, checks: Iterable[str] = tuple(CHECKS)) -> Verdict:
    """Try the checks on a case."""
    trial, ends, faults = Trial(case), dict[str, str](), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in checks:
            try:
                ends[name] = CHECKS[name](trial)
            except Fault as fault:
                ends[name] = "FAULT"
                faults.append((fault.check, fault.operator, fault.detail))
                if fault.check == "runtimes":
                    break  # nobody knows what is right
            except Failed as error:
                ends[name] = f"no oracle: {str(error)[:60]}"
            except reflrp.ReflrpError as error:
                ends[name] = f"refused: {refusal(error, case)}"
            except Exception as error:
                ends[name] = "FAULT"
                faults.append(
                    ("escapes", f"{name} {type(error).__name__} {place(error)}", traceback.format_exc(limit=-6))
                )
    return Verdict(case.title, ends, tuple(faults), tuple(case.operators))


def refusal(error: reflrp.ReflrpError, case: Case) -> str:
    """Return which operator was refused, and how the message begins."""
    nodes = getattr(error, "nodes", ())
    what = "+".join(sorted({getattr(n, "op_type", str(n)) for n in nodes})) or type(error).__name__
    message = " ".join(str(error).split())
    return f"{what}: {message.rpartition('): ')[2][:90]}"


def place(error: BaseException) -> str:
    """Return the last frame of reflrp in which an error was raised."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/reflrp/" in f.filename]
    return f"{frames[-1].filename.rpartition('/reflrp/')[2]}:{frames[-1].name}" if frames else "outside"


def number(seed: int, n: int) -> Verdict:
    """Make a case by its number, and try all checks on it."""
    return tried(made(seed, n))


def smallest(case: Case, check: str) -> Case:
    """Return a case as small as can be that fails in the same check."""

    def fails(c: Case) -> bool:
        return any(f[0] == check for f in tried(replace(c, title=case.title)).faults)

    return shrunk(case, fails)
