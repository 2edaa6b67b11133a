"""What `hyperctr.batch` declares of models and wrappers, asked of those that there are."""

from dataclasses import replace

import pytest
import torch

from hyperctr.batch import READS, Batch, HasHidden, HasTower, History, Step, TrainingPlan, plan_of
from hyperctr.models import MODELS, WRAPPERS

TWO_TASKS = {"lt4rec", "shared_bottom", "esmm", "mmoe"}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_declares_what_it_reads_and_answers(name):
    model = MODELS[name]
    assert model.reads <= READS.keys() and isinstance(model.reads, frozenset)
    assert model.tasks == (("click", "conversion") if name in TWO_TASKS else ("click",))
    assert ("conversions" in model.reads) == (name in TWO_TASKS)
    assert isinstance(model, HasHidden) == (name not in TWO_TASKS | {"popularity", "mf"})
    assert isinstance(model, HasTower) == (name in ("din", "hyperctr"))


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_declares_what_it_reads_and_whether_it_stays(name):
    wrapper = WRAPPERS[name]
    assert wrapper.reads == ({"conversions"} if name == "lt4rec" else frozenset())
    assert wrapper.stays == (name == "lt4rec")


def test_a_plan_is_the_model_s_changed_by_its_wrapper():
    hyperctr, sharing, bottom = MODELS["hyperctr"], WRAPPERS["lt4rec"], MODELS["shared_bottom"]
    both = ("click", "conversion")
    assert plan_of(MODELS["din"], MODELS["din"].Config()) == TrainingPlan()
    found = plan_of(hyperctr, hyperctr.Config(batches_per_graph=3))
    assert found == TrainingPlan(batches_per_graph=3, typed_hypergraphs=True)
    wrapped = plan_of(hyperctr, hyperctr.Config(batches_per_graph=3), sharing, sharing.Config(steps="cycle"))
    assert wrapped == TrainingPlan(both, "cycle", 3, typed_hypergraphs=True)
    assert plan_of(MODELS["mmoe"], MODELS["mmoe"].Config()).tasks == both
    assert plan_of(bottom, bottom.Config(tasks="conversion")).tasks == ("conversion",)
    aqcl = WRAPPERS["aqcl"]
    assert plan_of(MODELS["din"], MODELS["din"].Config(), aqcl, aqcl.Config()) == TrainingPlan()


def test_a_batch_without_a_step_is_for_evaluation():
    row = torch.arange(2)
    histories = History(row[:, None], row[:, None] > 0, row[:, None])
    batch = Batch(row, row, row, row, row, histories, row.float(), None, None, row.float())
    assert batch.step is None and (batch.task, batch.closes_group, batch.is_augmented) == (None, True, False)
    step = Step("click", closes_group=False, is_augmented=True)
    batch = replace(batch, step=step)
    assert (batch.task, batch.closes_group, batch.is_augmented) == ("click", False, True)
    assert batch.to("cpu").step is step and torch.equal(batch.to("cpu").histories.mask, histories.mask)
