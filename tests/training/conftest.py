"""`geomem train` in this process."""

import pytest

from commands import geomem


@pytest.fixture
def command(monkeypatch, unchecked, tmp_path):
    """Runs `geomem ...` in an empty folder: exit code, standard output, standard error. Nothing but an exit passes."""

    def run(*arguments):
        done = geomem(*map(str, arguments), cwd=tmp_path)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def refused(command):
    """Runs a command that must end with a code and one message that holds the words."""

    def run(arguments, code, *words):
        ended, out, err = command(*arguments)
        assert ended == code, err
        assert out == ""
        assert err.count("error: ") == 1
        for word in words:
            assert word in err

    return run
