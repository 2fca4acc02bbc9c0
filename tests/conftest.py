"""What all tests share: skips that may be forbidden, a seed that a failure prints, and Hypothesis.

Properties draw the same examples in every run, so that a build repeats itself. To look for new
ones: ``pytest --hypothesis-profile=fresh``, with ``RAFTLOG_EFFORT=50`` for longer machines.

With ``RAFTLOG_FORBID_SKIPS=1`` (as `.ci/run` sets it) a skipped test is a failed one, so that a
missing system package cannot pass unseen. One exception: a test marked ``container`` may skip where
no engine can start, or no systemd be booted; its reason is printed at the end of the run.
"""

from __future__ import annotations

import gc
import os
import random
import signal
from collections.abc import Generator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import forked, loop_guard, sources
from tests.syncs import Syncs

pytest_plugins = ["raftlog.testing.plugin"]

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("fresh", deadline=None, print_blob=True)
settings.load_profile("repeatable")

FORBID_SKIPS = os.environ.get("RAFTLOG_FORBID_SKIPS") == "1"
SEED_PROPERTY = "seed"
_allowed_skips: list[str] = []

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A background job of a shell without job control: processes begun here would inherit it, and
    # tests that interrupt them would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let golden files be written anew instead of compared."""
    parser.addoption("--rewrite", action="store_true", help="write golden transcripts anew")


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> Syncs:
    """Return a record of what is synced, made and named from here on."""
    return Syncs(monkeypatch)


@pytest.fixture
def seed(request: pytest.FixtureRequest, record_property: object) -> int:
    """Return this run's seed: RAFTLOG_SEED if set, else pytest-randomly's; printed on failure."""
    chosen = os.environ.get("RAFTLOG_SEED")
    order = request.config.getoption("randomly_seed", None)
    value = int(chosen) if chosen else int(order or random.SystemRandom().randrange(1 << 32))
    record_property(SEED_PROPERTY, value)  # type: ignore[operator]
    return value


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    return str(report.longrepr)


def pytest_configure(config: pytest.Config) -> None:
    """Let the guard of event loops know of every node that is begun."""
    loop_guard.watch_processes()
    forked.fork_nodes()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the collector from what lives as long as the run: modules, and thousands of tests.

    A simulated world ends with a collection; it is to look at that world. Hypothesis looks for who
    refers to its dice when it is first used, and would not see the frozen: so that is before.
    """

    @given(st.none())
    def warm_up(_: None) -> None:
        """Ask for nothing."""

    warm_up()
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process that nodes were forked from."""
    forked.NURSERY.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Have a test's nodes forked, or begun as users begin them."""
    forked.NURSERY.is_wanted = not item.nodeid.startswith(forked.REAL)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Forget the sources' trees with the module that looked at them."""
    if nextitem is None or nextitem.path != item.path:
        sources.forget()


def _look_at_loops(item: pytest.Item, report: pytest.TestReport) -> None:
    """Fail a test whose nodes held up their event loops; a test that failed has more to say."""
    held_up = loop_guard.GUARD.take()
    if held_up and report.passed and not item.get_closest_marker(loop_guard.MARK):
        report.outcome = "failed"
        report.longrepr = "\n".join(["an event loop was held up:", *held_up])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a forbidden skip into a failure, and name the seed of a test that failed."""
    report = yield
    _look_at_loops(item, report)
    if report.skipped and not hasattr(report, "wasxfail"):
        if item.get_closest_marker("container"):
            _allowed_skips.append(f"{item.nodeid}: {_reason(report)}")
        elif FORBID_SKIPS:
            report.outcome = "failed"
            report.longrepr = f"skips are forbidden here: {_reason(report)}"
    for name, value in item.user_properties:
        if report.failed and name == SEED_PROPERTY:
            report.sections.append(("seed", f"run it again with RAFTLOG_SEED={value}"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the forbidden skip of a whole module into a failure."""
    report = yield
    if report.skipped and FORBID_SKIPS:
        report.outcome = "failed"
        report.longrepr = f"skips are forbidden here: {_reason(report)}"
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Print the order's seed after a failure, and each skip that was let through."""
    for line in _allowed_skips:
        terminalreporter.write_line(f"skipped, allowed: {line}")
    order = config.getoption("randomly_seed", None)
    if exitstatus == pytest.ExitCode.TESTS_FAILED and order is not None:
        terminalreporter.write_line(f"same order again: pytest --randomly-seed={order}")
