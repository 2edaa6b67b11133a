"""Stand in for the processes of a study."""

import pytest

from hyperctr.runs import parallel
from hyperctr.studies import facts


@pytest.fixture
def stand_in(monkeypatch):
    """Put a function of run and folder in the place of a bench's processes; a report, or training in this process."""

    def put(work):
        done = []

        def run_all(cells, jobs, watch, ended, **how):
            done.clear()
            for name, (run, folder) in cells.items():
                done.append(name)
                ended(name, work(run, folder))

        monkeypatch.setattr(parallel, "run_all", run_all)
        monkeypatch.setattr(facts, "commit", lambda: None)
        return done

    return put
