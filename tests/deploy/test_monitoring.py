"""The monitoring files name what exists, fire when they should, and are read by Prometheus' and Datadog's own code."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.secrets import Secret
from tasks.telemetry import METRICS, Counters, Kind
from tests.admin.web.site import Site, fill

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
PYTHON_OF_DATADOG = Path(__file__).parents[2] / ".venv-datadog" / "bin" / "python"
SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.fixture
def site(embedded_catalog: str, tmp_path: Path) -> Any:
    """The page over an estate in which everything has been counted once."""
    served = Site.serve(tmp_path, embedded_catalog)
    fill()
    counters = Counters()
    for metric in METRICS.values():
        labels = {label: next(iter(sorted(values or ["x"]))) for label, values in metric.values.items()}
        if metric.kind is Kind.COUNTER:
            counters.add(metric.name, 3, **labels)
        elif metric.kind is Kind.HISTOGRAM:
            counters.observe(metric.name, 0.2, **labels)
    counters.flush()
    yield served
    served.stop()


def promtool(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool in the folder of the files. A missing one is a failure with its remedy."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.fail("promtool is missing: apt-get install prometheus.")
    return subprocess.run(
        [tool, *arguments], check=False, input=text, capture_output=True, text=True, cwd=FOLDER, timeout=120
    )


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]]


def test_prometheus_accepts_the_configuration_and_the_rules() -> None:
    """By its own tool."""
    for arguments in (("check", "config", "--syntax-only", "prometheus.yml"), ("check", "rules", "rules.yml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_fires_on_its_series_and_none_while_all_is_well() -> None:
    """Prometheus itself evaluates them; each rule is in both kinds of test."""
    done = promtool("test", "rules", "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    tests = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert len(names) > 20
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_every_rule_says_how_bad_it_is_and_what_to_do() -> None:
    """Its runbook is a file that names the rule."""
    assert {rule["labels"]["severity"] for rule in rules()} == {"warning", "critical"}
    for rule in rules():
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert f"rule `{rule['alert']}`" in (FOLDER / rule["annotations"]["runbook_url"]).read_text()


def test_rules_name_only_metrics_and_label_values_that_exist() -> None:
    """No rule that can never fire."""
    seen = set()
    for rule in rules():
        for name, selector in re.findall(r"(snapfleet_\w+)(\{[^}]*\})?", rule["expr"]):
            base = next((name.removesuffix(end) for end in SUFFIXES if name.removesuffix(end) in METRICS), name)
            assert base in METRICS, f"{rule['alert']}: {name}"
            seen.add(base)
            for label, _, value in re.findall(r'(\w+)(=~?)"([^"]*)"', selector):
                allowed = METRICS[base].values[label]
                assert allowed is None or set(value.split("|")) <= allowed, f"{rule['alert']}: {label}={value}"
    assert len(seen) > 20


def test_datadog_lists_every_metric_and_no_other() -> None:
    """Counters without _total, as the Agent's check wants them."""
    (instance,) = yaml.safe_load((FOLDER / "datadog.yaml").read_text())["instances"]
    listed = [name for entry in instance["metrics"] for name in entry]
    assert sorted(listed) == sorted(
        name.removesuffix("_total") if metric.kind is Kind.COUNTER else name for name, metric in METRICS.items()
    )
    for entry in instance["metrics"]:
        ((name, short),) = entry.items()
        assert name == f"snapfleet_{short}"


def test_prometheus_finds_nothing_to_say_about_the_live_metrics(site: Site) -> None:
    """`promtool check metrics` prints not one line."""
    text = site.client().get("/metrics").text
    assert text.count("\n") > 500
    done = promtool("check", "metrics", text=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


COLLECT = """
import json, sys
from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.stubs import aggregator

config = json.load(sys.stdin)
check = OpenMetricsBaseCheckV2("openmetrics", {}, [config])
check.run()
result = check.run()
print(json.dumps(sorted(aggregator.metric_names)) if not result else sys.exit(result))
"""


def test_datadogs_own_check_collects_every_metric_with_the_shipped_configuration(site: Site, tmp_path: Path) -> None:
    """Over HTTPS, with the page's certificate and a token from a file; only places are changed in what we ship."""
    if not PYTHON_OF_DATADOG.exists():
        pytest.fail("Datadog's check is missing: make datadog.")
    (config,) = yaml.safe_load((FOLDER / "datadog.yaml").read_text())["instances"]
    site.handle.stop()
    site = Site.serve_again(site, metrics_token=Secret("a-token-for-datadog"))
    (tmp_path / "token").write_text("a-token-for-datadog")
    config["openmetrics_endpoint"] = site.handle.address + "metrics"
    config["tls_ca_cert"] = str(site.settings.home / "tls" / "page.crt")
    config["auth_token"]["reader"]["path"] = str(tmp_path / "token")
    command = [str(PYTHON_OF_DATADOG), "-c", COLLECT]
    done = subprocess.run(command, check=False, input=json.dumps(config), capture_output=True, text=True, timeout=120)
    site.stop()
    assert done.returncode == 0, done.stderr
    found = set(json.loads(done.stdout.strip().splitlines()[-1]))
    ends = {Kind.GAUGE: ("",), Kind.COUNTER: (".count",), Kind.HISTOGRAM: (".bucket", ".count", ".sum")}
    wanted = {
        f"snapfleet.{name.removeprefix('snapfleet_').removesuffix('_total')}{end}"
        for name, metric in METRICS.items()
        for end in ends[metric.kind]
    }
    assert wanted - found == set()
