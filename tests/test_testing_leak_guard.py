"""The guard in conftest.py notices what a test leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py").read_text("utf-8").replace("PATIENCE = 30.0", "PATIENCE = 1.0")


@pytest.mark.process
def test_what_is_left_behind_fails_the_test(pytester: pytest.Pytester) -> None:
    """A thread of ours, a child process, an open file where files are counted; and nothing else.

    What starts a process without being marked fails, too.
    """
    pytester.makeconftest(CONFTEST)
    pytester.makeini("[pytest]\nmarkers = process")
    pytester.makepyfile(
        """
        import subprocess, sys, threading
        import pytest

        left = []

        @pytest.fixture(scope="module", autouse=True)
        def tidy():
            yield
            for clean_up in left:
                clean_up()

        def start(name):
            stop = threading.Event()
            thread = threading.Thread(target=stop.wait, name=name)
            thread.start()
            left.append(stop.set)
            return stop

        def test_our_thread():
            start("doteval something")

        def test_our_thread_that_ends():
            start("doteval something else").set()

        def test_another_thread():
            start("somebody's")

        @pytest.mark.process
        def test_child_process():
            process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
            left.append(lambda: process.communicate())

        @pytest.mark.process
        def test_child_process_that_is_waited_for():
            subprocess.run([sys.executable, "-c", ""], check=True)

        def test_child_process_without_a_mark():
            subprocess.run([sys.executable, "-c", ""], check=True)

        def test_child_process_of_uvloop():
            import anyio

            options = {"use_uvloop": True}
            anyio.run(anyio.run_process, [sys.executable, "-c", ""], backend="asyncio", backend_options=options)

        @pytest.mark.counts_open_files
        def test_file():
            left.append(open(__file__).close)

        @pytest.mark.counts_open_files
        def test_file_that_is_closed():
            open(__file__).close()

        def test_file_where_nobody_counts():
            left.append(open(__file__).close)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio", "-p", "no:trio", "-p", "no:dotevals", "-rE")
    result.assert_outcomes(passed=10, errors=5)
    for name, message in (
        ("test_our_thread", "the test left threads of doteval running"),
        ("test_child_process", "the test left child processes running: *input()*"),
        ("test_child_process_without_a_mark", "the test starts a process (subprocess.Popen) and is not marked process"),
        ("test_child_process_of_uvloop", "the test starts a process (fork) and is not marked process"),
        ("test_file", "the test left files or sockets open"),
    ):
        result.stdout.fnmatch_lines([f"*ERROR at teardown of {name} *", f"E * AssertionError: {message}*"])
