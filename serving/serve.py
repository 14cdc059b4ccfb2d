"""The server from its settings to its end: load bundles, serve them, stop gracefully."""

import os

from serving.engine.backends.installed import refuse_missing
from serving.settings import Settings, unknown_variables
from serving.system.resources import resources
from serving.telemetry import logs


def serve(settings: Settings) -> int:
    """Load what `settings` names and serve it.

    Once the server accepts, it writes one line of JSON to standard output: `{"event": "listening",
    "url": ..., "host": ..., "port": ..., "models": [...]}`. All else goes to the log on standard error.

    Raises:
        OfframpError: it cannot start.
    """
    refuse_missing(settings.runtime, settings.inference_precision)
    several = (settings.process_count or resources().cores) > 1
    process = 0 if several else None
    writer = logs.configure(settings.log_format, settings.log_level, process=process)
    unknown = unknown_variables(os.environ)
    if unknown:
        logs.get_logger().warning("unknown_variables", variables=unknown)
    try:
        if several:  # the parent computes nothing, and needs no ONNX Runtime
            from serving.processes.parent import serve_with_processes

            return serve_with_processes(settings, writer)
        from serving.processes.alone import serve_alone

        return serve_alone(settings, writer)
    finally:
        if writer is not None:
            writer.close()
