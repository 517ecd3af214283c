"""The log of the package: what is logged, at which level, and with which fields.

Each line ends in the fields `account`, `attempt`, `status`, `elapsed` and `request_id`. The record
has them as attributes, and `operation`, with which the line begins.
"""

import logging
from typing import Any, Final

from ..observe import AttemptEnded, CallEnded, CallInfo, Observer, RequestInfo, Waiting
from .listeners import guarded_function
from .messages import Request, Response

NAME: Final = "marketplace_async"
log: Final = logging.getLogger(NAME)
log.addHandler(logging.NullHandler())


class Log(Observer):
    """Logs what an observer is told: attempts (DEBUG), retries (INFO) and give-ups (WARNING)."""

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        if log.isEnabledFor(logging.DEBUG):
            result = attempt.error_type or attempt.status
            if attempt.reason and attempt.error_type != attempt.reason:
                result = f"{result} ({attempt.reason})"
            _write(
                logging.DEBUG,
                attempt.call,
                attempt.request,
                f"-> {result}",
                attempt=attempt.number,
                status=attempt.status,
                elapsed=attempt.elapsed,
                request_id=attempt.request_id,
                error_type=attempt.error_type,
                permit_wait=attempt.permit_wait,
            )

    def waiting(self, wait: Waiting) -> None:
        level = logging.DEBUG if wait.reason == "permit" else logging.INFO
        if log.isEnabledFor(level):
            after = f" after {wait.error_type} ({wait.cause})" if wait.error_type else ""
            match wait.reason:
                case "permit":
                    text = "waits for a permit"
                case "pause":
                    text = f"waits {wait.seconds:.3f} s for the end of a pause{after}"
                case "look_up":
                    text = f"is looked up in {wait.seconds:.3f} s{after}"
                case _:
                    text = f"is retried in {wait.seconds:.3f} s ({wait.reason}){after}"
            _write(
                level,
                wait.call,
                wait.request,
                text,
                # The attempt that failed.
                attempt=wait.number if wait.elapsed is None else wait.number - 1,
                status=wait.status,
                elapsed=wait.elapsed,
                request_id=wait.request_id,
                error_type=wait.error_type,
                wait=wait.seconds,
                reason=wait.reason,
            )

    def call_ended(self, end: CallEnded) -> None:
        # Without a request of its own, the operation failed with one of its calls.
        if end.gave_up and end.request is not None and log.isEnabledFor(logging.WARNING):
            plural = "" if end.attempts == 1 else "s"
            after = f"after {end.attempts} attempt{plural}" if end.attempts else "and sent nothing"
            _write(
                logging.WARNING,
                end.call,
                end.request,
                f"gave up {after}: {end.error_type} ({end.reason})",
                attempt=end.attempts or None,
                status=end.status,
                elapsed=end.elapsed,
                request_id=end.request_id,
                error_type=end.error_type,
            )


def _write(
    level: int, call: CallInfo, request: RequestInfo | None, text: str, **fields: Any
) -> None:
    what = f"{request.method} {request.path} {text}" if request is not None else text
    _emit(level, f"{call.operation}: {what}", {"account": call.account, **fields}, call.operation)


def _emit(level: int, text: str, fields: dict[str, Any], operation: str) -> None:
    shown = ("account", "attempt", "status", "elapsed", "request_id")
    tail = " ".join(f"{name}={_shown(fields.get(name))}" for name in shown)
    record = log.makeRecord(NAME, level, __file__, 0, "%s [%s]", (text, tail), None, "log")
    for name, value in {"operation": operation, **fields}.items():
        # As `extra=`, which raises if the factory of an application has set the same name.
        if name not in record.__dict__:
            record.__dict__[name] = value
    log.handle(record)


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _warn_about_response(request: Request, response: Response, text: str) -> None:
    if log.isEnabledFor(logging.WARNING):
        fields = {
            "account": response.account,
            "attempt": None,
            "status": response.status,
            "elapsed": response.elapsed,
            "request_id": response.mask(response.request_id),
        }
        operation = request.operation or "send"
        _emit(logging.WARNING, f"{operation}: {request} {text}", fields, operation)


# A handler of the application may raise. The response is fine.
warn_about_response: Final = guarded_function(_warn_about_response, "a handler of the log")
