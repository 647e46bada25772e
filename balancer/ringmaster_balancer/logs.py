"""How the balancer's processes log: one line an event to stderr, `key=value`.

Law: configured once, by each process' entry.
"""

from __future__ import annotations

import logging
import sys

import structlog


def configure(process: str) -> None:
    """Log as `time level process event key=value …` from now on."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _with_process(process),
            structlog.processors.LogfmtRenderer(
                key_order=["time", "level", "process", "event"], bool_as_flag=False
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def _with_process(process: str) -> structlog.typing.Processor:
    def add(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return add
