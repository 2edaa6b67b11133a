"""Train DIN or DeepFM in another library, on rows that benchmarks/training.py has made; prints JSON.

Run it with the Python of that library's environment (environments.py):

    envs/fuxictr/bin/python benchmarks/peers/train.py fuxictr din rows.npz --epochs 3
    envs/fuxictr/bin/python benchmarks/peers/train.py fuxictr din rows.npz --batch 4096 --gpu 0

What can be equal to ours is: vectors of 16, attention 64, network 256-128, batch 1,024 (or --batch), no dropout, no
regularisation, Adam at 1e-3, one table for candidate and clicks, the history of DeepFM a field that is the mean of its
clicks. What is their own:
- The activations of DIN, unless --activation asks for the same everywhere: Dice in the attention, and on top ReLU, or
  Dice in torch-rechub, which knows no other. DeepCTR-Torch's Dice works in the attention alone.
- FuxiCTR clips gradients, and its first-order term adds the history up. Its models are written here from its layers, as
  in its repository: the package has none. Its loader runs in this process, which is faster than in one of its own.
- DeepCTR-Torch keeps all ids of a row in one matrix of floats.
- torch-rechub has a batch norm in every layer, no first-order weights in DeepFM but a linear map of the vectors, and
  lets its attention weigh padding.

An epoch's time is that of the library's own loop over its own loader.
"""

import argparse
import contextlib
import json
import logging
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

DIM, ATTENTION, HIDDEN, LR = 16, [64], [256, 128], 1e-3


class Rows:
    """Columns of the training and of the test rows, and how many a step takes; ids from 1 on, 0 is padding."""

    def __init__(self, path: str, batch: int):
        found, self.batch = np.load(path), batch
        self.users, self.items = int(found["num_users"]) + 1, int(found["num_items"]) + 1
        self.train, self.test = (
            {name: found[f"{part}_{name}"] for name in ("user", "item", "history", "label")}
            for part in ("train", "test")
        )
        self.length = self.train["history"].shape[1]


class Watch:
    """Collects the samples a second of epochs, and the test AUC after each."""

    def __init__(self, rows: Rows, clock: str):
        self.clock = {"wall": time.perf_counter, "cpu": time.process_time}[clock]
        self.samples, self.label = len(rows.train["label"]), rows.test["label"]
        self.speeds, self.aucs = [], []

    def test(self, scores: np.ndarray) -> None:
        self.aucs.append(float(roc_auc_score(self.label, scores)))

    @contextlib.contextmanager
    def epoch(self):
        began = self.clock()
        yield
        self.speeds.append(self.samples / (self.clock() - began))


def deepctr_torch(model: str, rows: Rows, epochs: int, activation: str, watch: Watch) -> int:
    sys.modules["requests"] = ModuleType("requests")  # by which it would ask the network for its newest version
    from deepctr_torch.callbacks import Callback
    from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat, get_feature_names
    from deepctr_torch.models import DIN, DeepFM

    clicks = SparseFeat("hist_item", rows.items, DIM, embedding_name="item")
    columns = [
        SparseFeat("user", rows.users, DIM),
        SparseFeat("item", rows.items, DIM),
        VarLenSparseFeat(clicks, rows.length, "mean", length_name="length"),
    ]
    if model == "din":
        top, act = {"own": ("relu", "Dice"), "prelu": ("prelu", "prelu"), "dice": ("prelu", "Dice")}[activation]
        made = DIN(columns, ["item"], dnn_hidden_units=HIDDEN, dnn_activation=top, att_hidden_size=ATTENTION,
                   att_activation=act, l2_reg_embedding=0)  # fmt: skip
    else:
        made = DeepFM(columns, columns, dnn_hidden_units=HIDDEN, l2_reg_linear=0, l2_reg_embedding=0)
    made.compile(torch.optim.Adam(made.parameters(), lr=LR), "binary_crossentropy", metrics=[])

    def given(part: dict) -> dict:
        found = {"user": part["user"], "item": part["item"], "hist_item": part["history"]}
        found["length"] = (part["history"] > 0).sum(1)
        return {name: found[name] for name in get_feature_names(columns)}

    class Timed(Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.running = watch.epoch()
            self.running.__enter__()

        def on_epoch_end(self, epoch, logs=None):
            self.running.__exit__(None, None, None)

    for _ in range(epochs):
        made.fit(given(rows.train), rows.train["label"], rows.batch, epochs=1, verbose=0, callbacks=[Timed()])
        watch.test(made.predict(given(rows.test), rows.batch).ravel())
    return sum(p.numel() for p in made.parameters())


def torch_rechub(model: str, rows: Rows, epochs: int, activation: str, watch: Watch) -> int:
    from torch_rechub.basic.features import SequenceFeature, SparseFeature
    from torch_rechub.models.ranking import DIN, DeepFM
    from torch_rechub.trainers import CTRTrainer
    from torch_rechub.utils.data import DataGenerator

    user, item = SparseFeature("user", rows.users, DIM), SparseFeature("item", rows.items, DIM, padding_idx=0)
    pooling = "concat" if model == "din" else "mean"
    clicks = SequenceFeature("history", rows.items, DIM, pooling=pooling, shared_with="item", padding_idx=0)
    network = {"dims": HIDDEN}
    if model == "din":
        act = "prelu" if activation == "prelu" else "dice"
        made = DIN([user], [clicks], [item], network, {"dims": ATTENTION, "activation": act})
    else:
        made = DeepFM([user, item, clicks], [user, item, clicks], network)

    def given(part: dict) -> dict:
        return {name: part[name] for name in ("user", "item", "history")}

    with tempfile.TemporaryDirectory() as home:
        adam = {"lr": LR, "weight_decay": 0.0}
        trainer = CTRTrainer(made, optimizer_params=adam, n_epoch=epochs, model_path=home)
        data = DataGenerator(given(rows.train), rows.train["label"])
        test = given(rows.test), rows.test["label"]
        loader, _, last = data.generate_dataloader(*test, *test, batch_size=rows.batch)
        for _ in range(epochs):
            with watch.epoch():
                trainer.train_one_epoch(loader)
            made.eval()
            with torch.no_grad():
                watch.test(torch.cat([made(columns) for columns, _ in last]).numpy())
    return sum(p.numel() for p in made.parameters())


def fuxictr(model: str, rows: Rows, epochs: int, activation: str, watch: Watch, gpu: int = -1) -> int:
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader
    from fuxictr.pytorch.layers import (
        DIN_Attention,
        FactorizationMachine,
        FeatureEmbedding,
        FeatureEmbeddingDict,
        MLP_Block,
    )
    from fuxictr.pytorch.models import BaseModel

    top, act = {"own": ("ReLU", "Dice"), "prelu": ("PReLU", "PReLU"), "dice": ("Dice", "Dice")}[activation]

    class Din(BaseModel):
        def __init__(self, feature_map, **settings):
            super().__init__(feature_map, **settings)
            self.embedding_layer = FeatureEmbeddingDict(feature_map, DIM)
            self.attention = DIN_Attention(DIM, attention_units=ATTENTION, hidden_activations=act)
            self.network = MLP_Block(3 * DIM, HIDDEN, top, 1, self.output_activation)
            self.compile("adam", "binary_crossentropy", LR)
            self.reset_parameters()

        def forward(self, inputs):
            given = self.get_inputs(inputs)
            found = self.embedding_layer(given)
            found["history"] = self.attention(found["item"], found["history"], given["history"].long() != 0)
            return {"y_pred": self.network(self.embedding_layer.dict2tensor(found, flatten_emb=True))}

    class DeepFm(BaseModel):
        def __init__(self, feature_map, **settings):
            super().__init__(feature_map, **settings)
            self.embedding_layer = FeatureEmbedding(feature_map, DIM)
            self.machine = FactorizationMachine(feature_map)
            self.network = MLP_Block(3 * DIM, HIDDEN, output_dim=1)
            self.compile("adam", "binary_crossentropy", LR)
            self.reset_parameters()

        def forward(self, inputs):
            given = self.get_inputs(inputs)
            fields = self.embedding_layer(given)
            logit = self.machine(given, fields) + self.network(fields.flatten(start_dim=1))
            return {"y_pred": self.output_activation(logit)}

    features = FeatureMap("rows", ".")
    features.labels, features.num_fields, features.default_emb_dim = ["label"], 3, DIM
    item = {"source": "", "padding_idx": 0, "vocab_size": rows.items}
    features.features["user"] = {"source": "", "type": "categorical", "padding_idx": 0, "vocab_size": rows.users}
    features.features["item"] = item | {"type": "categorical"}
    pooled = {"feature_encoder": "layers.MaskedAveragePooling()"} if model == "deepfm" else {}
    features.features["history"] = (
        item | {"type": "sequence", "max_len": rows.length, "share_embedding": "item"} | pooled
    )
    features.set_column_index()
    with tempfile.TemporaryDirectory() as home:
        loaders = []
        for name, part in (("train", rows.train), ("test", rows.test)):
            np.savez(Path(home) / name, **part)
            loaders.append(
                NpzDataLoader(features, str(Path(home) / f"{name}.npz"), rows.batch, name == "train", num_workers=0)
            )
        settings = {"verbose": 0, "model_root": home, "metrics": ["AUC"], "gpu": gpu}
        made = {"din": Din, "deepfm": DeepFm}[model](features, **settings)
        made.model_to_device()
        made._max_gradient_norm, made._eval_steps, made._total_steps = 10.0, 10**9, 0  # what `fit` sets
        made._stop_training = False
        for _ in range(epochs):
            with watch.epoch():
                made.train_epoch(loaders[0])
            watch.test(made.predict(loaders[1]))
    return sum(p.numel() for p in made.parameters())


PEERS = {"fuxictr": fuxictr, "deepctr-torch": deepctr_torch, "torch-rechub": torch_rechub}


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reader.add_argument("peer", choices=PEERS)
    reader.add_argument("model", choices=("din", "deepfm"))
    reader.add_argument("rows", help="rows.npz")
    reader.add_argument("--epochs", type=int, default=3)
    reader.add_argument("--threads", type=int, default=2)
    reader.add_argument("--activation", choices=("own", "prelu", "dice"), default="own")
    reader.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    reader.add_argument("--batch", type=int, default=1024)
    reader.add_argument("--gpu", type=int, default=-1, help="number of the GPU, of fuxictr; -1: the CPU")
    asked = reader.parse_args()
    if asked.gpu >= 0 and asked.peer != "fuxictr":
        reader.error("--gpu is for fuxictr")
    if asked.gpu >= 0 and not torch.cuda.is_available():  # FuxiCTR would take the CPU and not say so
        reader.error(f"torch {torch.__version__} of this environment finds no GPU")
    logging.disable(logging.WARNING)
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    rows = Rows(asked.rows, asked.batch)
    watch = Watch(rows, asked.clock)
    with contextlib.redirect_stdout(sys.stderr):  # libraries print as they like
        where = {"gpu": asked.gpu} if asked.peer == "fuxictr" else {}
        count = PEERS[asked.peer](asked.model, rows, asked.epochs, asked.activation, watch, **where)
    report = {
        "peer": asked.peer,
        "version": version(asked.peer),
        "model": asked.model,
        "torch": torch.__version__,
        "samples_per_second": watch.speeds,
        "auc": watch.aucs,
        "parameters": count,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
