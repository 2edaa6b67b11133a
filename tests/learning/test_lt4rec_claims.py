"""LT4REC on planted worlds of two tasks: what it trains, and that its verdicts follow from its rows."""

from hyperctr.studies import bench, find
from hyperctr.studies.lt4rec import planted
from hyperctr.studies.study import Scores, Setup

STUDY = find("lt4rec-planted")
NOISE = (0.0, 0.001, -0.001)


def runs_of(**columns):
    return [{"seed": 100 + k} | {name: x + noise for name, x in columns.items()} for k, noise in enumerate(NOISE)]


def shared(row, jaccard):
    return [{"row": row, "seed": 100.0 + k, "layer": "all", "jaccard": jaccard + noise, "ratio": 1.0}
            for k, noise in enumerate(NOISE)]  # fmt: skip


def test_rows_differ_in_how_they_share(tmp_path):
    base = bench.planted_run(STUDY)
    rows = STUDY.rows(Setup(STUDY, base), None)
    runs = {row.name: bench.run_of(base, row, 100, tmp_path, 0.03) for row in rows}
    models = {name: run.model for name, run in runs.items()}
    assert {(model.dim, tuple(model.hidden)) for model in models.values()} == {(8, (64, 32))}
    assert models["conversions alone"].tasks == "conversion"
    assert [models[name].shared for name in (planted.EMBEDDINGS, planted.LAYERS)] == [0, 2]
    assert (models[planted.EVERY].rounds, models[planted.EVERY].keep) == (1, 1.0)
    assert models[planted.RANDOM].masks == str(tmp_path / "runs" / "s-weight-seed-100")  # as many weights as tickets
    assert [name for name, run in runs.items() if "agree-" in run.data.path] == [planted.AGREE]


def test_verdicts_follow_from_errors_and_masks():
    small, large = runs_of(cvr_mse=0.04, valid_cvr_mse=0.04, valid_auc=0.8), runs_of(cvr_mse=0.06, valid_cvr_mse=0.06,
                                                                                  valid_auc=0.7)  # fmt: skip
    runs = {planted.TICKET: small, planted.EMBEDDINGS: large, planted.LAYERS: large, planted.RANDOM: large}
    facts = {"rows": [[name, "lt4rec"] for name in (*runs, planted.EVERY, planted.AGREE)]}
    measured = {"masks": shared(planted.TICKET, 0.5) + shared(planted.AGREE, 0.6),
                "twice": {planted.TICKET: [{"seed": 100 + k, "jaccard": 0.3} for k in range(3)]}}  # fmt: skip
    found = [one.verdict for one in STUDY.judge(Scores(STUDY, facts, runs, measured))]
    assert found == ["reproduced", "reproduced", "not tested", "reproduced", "contradicted", "reproduced", "reproduced"]
