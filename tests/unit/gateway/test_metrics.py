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


def test_chats_are_compared_with_what_was_expected_of_them() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.counted("teller", {"prompt_tokens": 10, "total_tokens": 30}, {"prompt_tokens": 12, "total_tokens": 15})
    metrics.counted("other", {"steps": 5}, {"steps": 5})
    lines = metrics.render({}).decode().splitlines()
    for name, part, value in (("expected", "prompt", 20), ("counted", "prompt", 24), ("expected", "answer", 40), ("counted", "answer", 6)):
        assert f'taximeter_chat_tokens_{name}_total{{model="teller",part="{part}"}} {value}.0' in lines
    assert not any("other" in line for line in lines)


def test_processes_with_a_shared_folder_answer_for_each_other(tmp_path: Path) -> None:
    source = Path(__file__).parents[3] / "src"
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    texts = [subprocess.run(command, env=environ, check=True, capture_output=True, text=True).stdout for _ in range(2)]
    counted = 'taximeter_http_requests_total{method="GET",route="/v1/models",status="200"}'
    assert f"{counted} 1.0" in texts[0]
    assert f"{counted} 2.0" in texts[1]


def test_figures_may_be_counters_and_carry_a_label() -> None:
    figures = {
        'taximeter_receipts_total{kind="gateway"}': ("Requests ended.", 7),
        'taximeter_receipts_total{kind="worker"}': ("Requests ended.", 2),
        'taximeter_reconcile_difference{check="ledger_receipts"}': ("What differed.", 0),
    }
    text = Metrics().render(figures).decode()
    assert text.count("# TYPE taximeter_receipts_total counter") == 1
    assert 'taximeter_receipts_total{kind="gateway"} 7.0' in text
    assert 'taximeter_receipts_total{kind="worker"} 2.0' in text
    assert "# TYPE taximeter_reconcile_difference gauge" in text
    assert 'taximeter_reconcile_difference{check="ledger_receipts"} 0.0' in text
