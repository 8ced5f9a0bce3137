"""The mean of the last epochs' weights (stochastic weight averaging).

From Izmailov et al. 2018, with the moving averages of batch normalization averaged,
too, as in the competition's first place.
"""

from pathlib import Path

import keras
import numpy as np

from clouds.errors import InputError
from clouds.runs import checkpoints, run_facts, run_folder
from clouds.runtime import files
from clouds.training import optimizers


class AverageEpochs(keras.callbacks.Callback):
    """Saves the mean of the last epochs' weights if its `val_loss` is the lowest.

    The weights of each epoch are in a file of their own until then, so that a resumed
    training averages the same.

    Args:
      epochs: maximum number of epochs of the training.
      count: number of epochs that are averaged.
      folder: folder of the run.
      save_best: callback whose `best` is the lowest `val_loss` so far.
      batches: batches of the validation split.
      averaged: callbacks for `optimizers.averaged_weights`.
    """

    def __init__(
        self,
        epochs: int,
        count: int,
        folder: Path,
        save_best: keras.callbacks.Callback,
        batches,
        averaged: list,
    ):
        super().__init__()
        self.epochs = epochs
        self.count = count
        self.folder = folder
        self.save_best = save_best
        self.batches = batches
        self.averaged = averaged

    def on_epoch_end(self, epoch, logs=None):
        """Stores the weights of the epoch; after the last epoch, averages them."""
        network = self.model.network
        with optimizers.averaged_weights(self.averaged):
            self._store(epoch, network.get_weights())
        if epoch + 1 == self.epochs or self.model.stop_training:
            self._average(network)

    def _store(self, epoch: int, arrays: list[np.ndarray]) -> None:
        path = self.folder / checkpoints.FOLDER / f"weights-epoch{epoch:04}.npz"
        path.parent.mkdir(exist_ok=True)
        size = sum(array.nbytes for array in arrays)
        files.check_free_space(path.parent, size, "Weights of an epoch")
        with files.replacing(path) as part:
            np.savez(part, *arrays)
        paths = self._paths()
        newest = paths.index(path) + 1
        # Later ones are of a training that did not resume from there.
        for other in paths[newest:] + paths[:newest][: -self.count]:
            other.unlink()

    def _paths(self) -> list[Path]:
        return sorted((self.folder / checkpoints.FOLDER).glob("weights-epoch*.npz"))

    def _average(self, network: keras.Model) -> None:
        paths, current = self._paths(), network.get_weights()
        sums = [np.zeros(array.shape) for array in current]
        for path in paths:
            for total, array in zip(sums, _load(path), strict=True):
                total += array
        network.set_weights([total / len(paths) for total in sums])
        loss = self.model.evaluate(self.batches, verbose=0, return_dict=True)["loss"]
        best = self.save_best.best
        kept = loss < best
        if kept:
            run_folder.save_weights(network, self.folder)
        network.set_weights(current)
        for path in paths:
            path.unlink()
        facts = {"epochs": len(paths), "val_loss": loss, "saved": kept}
        run_facts.add(self.folder, {"averaged": facts})
        print(
            f"Mean weights of the last {len(paths)} epochs: val_loss {loss:.4f}, "
            f"{'lowest, saved' if kept else f'not below {best:.4f}, not saved'}.",
            flush=True,
        )


def _load(path: Path) -> list[np.ndarray]:
    try:
        with np.load(path) as stored:
            return [stored[name] for name in stored.files]
    except MemoryError:
        raise
    except Exception as error:  # zipfile raises many kinds.
        raise InputError(
            f"{path} is damaged ({error}). Remove it and run the same command again, "
            "which averages the other epochs."
        ) from error
