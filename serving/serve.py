"""The server from its settings to its end: load bundles, serve them, stop gracefully."""

import gc
import json
import os
import sys
from pathlib import Path

from serving.address_lock import only_server
from serving.bundle.files import links_root
from serving.errors import OfframpError
from serving.events import fan_out
from serving.model import Model, ServingConfig
from serving.monitoring.state import keep_state
from serving.repository import load_models
from serving.settings import Settings, unknown_variables
from serving.telemetry import logs
from serving.telemetry.metrics import Metrics
from serving.web.app import create_app
from serving.web.server import Server, reserve
from serving.web.service import Service

_SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter from the others. The one that computes comes back from ONNX
Runtime while requests are read and answered: at Python's 5 ms the cores can idle that long after a batch."""


def serve(settings: Settings) -> int:
    """Load what `settings` names and serve it.

    Once the server accepts, it writes one line of JSON to standard output: `{"event": "listening",
    "url": ..., "host": ..., "port": ..., "models": [...]}`. All else goes to the log on standard error.

    Raises:
        OfframpError: it cannot start.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    logs.configure(settings.log_format, settings.log_level)
    logger = logs.get_logger()
    metrics = Metrics()
    emit = fan_out(metrics, logs.EventLog(logger))
    rules = ServingConfig(
        default_budget=settings.default_budget,
        policy=settings.policy,
        max_drop=settings.max_drop,
        delta=settings.guarantee_delta,
        controller=settings.controller == "on",
        sample_share=settings.sample_share,
        sample_seed=settings.sample_seed,
        drift_window_rows=settings.drift_window_images,
    )

    def load(folder: Path) -> Model:
        return Model.load(
            folder,
            threads=settings.threads,
            max_queue_rows=settings.max_queue_rows,
            max_batch=settings.max_batch,
            max_batch_bytes=settings.max_batch_bytes,
            providers=settings.providers,
            strict=settings.strict_providers,
            device_features=settings.device_features,
            rules=rules,
            emit=emit,
            links_below=links_root(settings.models),
        )

    unknown = unknown_variables(os.environ)
    if unknown:
        logger.warning("unknown_variables", variables=unknown)
    with only_server(settings.host, settings.port), reserve(settings) as reserved:
        models = load_models(settings, load, logger)
        keeper = keep_state(settings.state_dir, settings.state_interval_seconds, models, logger)
        host, port = reserved.getsockname()[:2]

        def started() -> None:
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            line = {"event": "listening", "url": url, "host": host, "port": port, "models": sorted(models)}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()

        service = Service(models, settings, metrics, emit)
        server = Server(create_app(service), service, started)
        # What is there now stays: looking through it for garbage would hold up every thread for 0.1 s.
        gc.collect()
        gc.freeze()
        try:
            server.run([reserved])
        except OSError as error:
            raise OfframpError(f"cannot listen on {host} port {port}: {error.strerror}") from error
        finally:
            for model in models.values():  # Nobody waits any more: at most one batch is under way.
                patience = 0 if server.force_exit else settings.shutdown_timeout_seconds
                model.close(drain=False, timeout_seconds=patience)
            if keeper is not None:
                keeper.close()
    logger.info("stopped", graceful=not server.force_exit)
    return 0
