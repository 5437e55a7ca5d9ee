"""Metrics of one process, and of several that share a port."""

import os
import subprocess
import sys
from pathlib import Path

from taximeter.gateway import Metrics

SCRIPT = """
import sys
from taximeter.gateway import Metrics
metrics = Metrics(sys.argv[1])
metrics.started()
metrics.finished("/v1/models", "GET", 200, 0.01, client_gone=False)
print(metrics.render({}).decode())
"""


def test_requests_are_counted_and_timed() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.started()
    metrics.finished("/v1/models", "GET", 200, 0.02, client_gone=True)
    text = metrics.render({"taximeter_holds_open": ("Holds.", 3)}).decode()
    assert 'taximeter_http_requests_total{method="GET",route="/v1/models",status="200"} 1.0' in text
    assert 'taximeter_http_request_duration_seconds_bucket{le="0.025",route="/v1/models"} 1.0' in text
    assert "taximeter_http_requests_open 1.0" in text
    assert "taximeter_http_clients_gone_total 1.0" in text
    assert "taximeter_holds_open 3.0" in text


def test_processes_with_a_shared_folder_answer_for_each_other(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "src"
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    texts = [subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout for _ in range(2)]
    counted = 'taximeter_http_requests_total{method="GET",route="/v1/models",status="200"}'
    assert f"{counted} 1.0" in texts[0]
    assert f"{counted} 2.0" in texts[1]
