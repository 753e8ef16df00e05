"""What becomes of a case: the end of each check, the faults, and what was refused."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import reflrp
from differential.case import Case
from differential.checks import CHECKS
from differential.evaluate import Failed
from differential.forward import Fault
from differential.generate import case as made
from differential.shrink import shrunk
from differential.trial import Trial


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
                ends[name] = f"refused: {refusal(error)}"
            except Exception as error:
                ends[name] = "FAULT"
                faults.append(
                    ("escapes", f"{name} {type(error).__name__} {place(error)}", traceback.format_exc(limit=-6))
                )
    return Verdict(case.title, ends, tuple(faults), tuple(case.operators))


def refusal(error: reflrp.ReflrpError) -> str:
    """Return which operators were refused, and how the message ends, without names and numbers."""
    message = " ".join(str(error).split())
    operators = "+".join(sorted(set(re.findall(r"(?:ai\.onnx::|onnx )(\w+)", message))))
    reason = re.sub(r"\d+", "n", re.sub(r"'[^']*'", "...", message.rpartition("): ")[2]))
    return f"{type(error).__name__} {operators}: {reason[:90]}"


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
