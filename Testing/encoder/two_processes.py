"""What each of two processes under torch's launcher does; run by test_distributed.py with a folder."""

import json
import sys
from pathlib import Path

import torch
from DiffPoseRegistrationLib.encoder import trainer
from DiffPoseRegistrationLib.encoder.distributed import launched
from DiffPoseRegistrationLib.encoder.settings import TrainingSettings
from DiffPoseRegistrationLib.encoder.training import train
from DiffPoseRegistrationLib.errors import Cancelled
from DiffPoseRegistrationLib.jobs.checkpoint import CheckpointStore
from encoder_scenes import CAMERA, body_of, small_ct

SETTINGS = TrainingSettings(
    steps=4, batch_size=4, validation_images=8, image_side=24, widths=(8, 16), looks=1, seed=5, averaging=0.0
)


def flat(network):
    """All weights in one row."""
    return torch.cat([value.flatten() for value in network.state_dict().values()])


def main(folder):
    trainer._STEPS_APART = 1
    torch.cpu._is_avx512_bf16_supported = bool  # in float32, so that sums in another order differ by little
    rank, _ = launched()
    body = body_of(small_ct())

    def learn(**options):
        return train([body], CAMERA, SETTINGS, **options)

    last = {}

    class Spied(trainer.Trainer):
        """Keeps the weights as they are in this process: only the first one measures which were the best."""

        def finish(self):
            last["network"] = flat(self.state.network).clone()
            super().finish()

    sys.modules[train.__module__].Trainer = Spied
    told = []
    whole = learn(on_progress=lambda progress: told.append(progress.images))
    weights = last["network"]

    asked = 0

    def second_process_says_stop():
        nonlocal asked
        asked += 1
        return rank == 1 and asked > 2

    store = CheckpointStore(folder / "state")
    cancelled = False
    try:
        learn(cancelled=second_process_says_stop, checkpoints=store)
    except Cancelled:
        cancelled = True
    torch.distributed.barrier()  # the first process has saved
    stopped_at = store.latest().step
    learn(checkpoints=store)
    torch.save({"weights": weights, "resumed": last["network"]}, folder / f"{rank}.pt")
    facts = {"record": whole.record, "told": told, "cancelled": cancelled, "stopped_at": stopped_at}
    (folder / f"{rank}.json").write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
