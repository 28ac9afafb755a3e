"""How a server's log looks: coloured lines for a person at a terminal, JSON lines for everything else, both on stderr.

What is logged is left to those who log it; libraries that use the standard library's logging come out the same way.
"""

from __future__ import annotations

import logging
import sys
from enum import Enum

import structlog


class LogForm(Enum):
    """How log lines are written."""

    AUTO = "auto"
    """As text on a terminal, else as JSON."""
    TEXT = "text"
    """For reading."""
    JSON = "json"
    """One JSON object a line."""


def configure_logging(form: LogForm = LogForm.AUTO) -> None:
    """Once in a process, before the first line."""
    on_terminal = sys.stderr.isatty()
    as_text = form is LogForm.TEXT or (form is LogForm.AUTO and on_terminal)
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if as_text else "iso", utc=not as_text),
    ]
    ending: list[structlog.types.Processor] = (
        # Never a traceback with the values of variables: the cluster key may be among them.
        [
            structlog.dev.ConsoleRenderer(
                colors=on_terminal, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[_without_record, *ending], foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def _without_record(
    logger: structlog.types.WrappedLogger, name: str, event: structlog.types.EventDict
) -> structlog.types.EventDict:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(logger, name, event)
