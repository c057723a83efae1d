"""The daily look at what was answered: alerts where people should know, a page in MLflow and Prefect always.

traces, golden questions, releases ─▶ judge ─▶ findings ─▶ alert
                                          └─▶ page, numbers ─▶ MLflow
"""

import datetime as dt

from prefect import flow

from flows.alerts import tell_people
from flows.progress import show_report
from flows.steps import step
from tasks.monitor.look import log_look, look
from tasks.monitor.report import MonitorReport, as_markdown
from tasks.params import Params, load_params
from tasks.settings import Settings
from tasks.telemetry import in_trace


@step(retries=2)
def look_now(params: Params, settings: Settings) -> MonitorReport:
    """Judge the last weeks."""
    return look(params, settings, now=dt.datetime.now(dt.UTC))


@step(retries=2)
def log(settings: Settings, report: MonitorReport) -> str:
    """Keep it in MLflow."""
    return log_look(settings, report)


@flow(name="monitor", persist_result=False)
@in_trace("monitor")
def monitor() -> MonitorReport:
    """Look at the last weeks, and tell people what they should know."""
    settings = Settings()
    report = look_now(load_params(settings.params, settings.profile), settings)
    log(settings, report)
    show_report("monitor", as_markdown(report))
    if report.findings:
        lines = (f"- {finding.what}: {finding.remedy}" for finding in report.findings)
        tell_people(settings, f"Almanac: {len(report.findings)} finding(s) of the monitor", "\n".join(lines))
    return report
