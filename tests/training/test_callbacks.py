import keras
import numpy as np

from clouds.config.training import Training
from clouds.runs.checkpoints import Progress
from clouds.training import callbacks

VAL_LOSSES = [1.0, 0.9, 0.95, 0.91, 0.92, 0.93]


def steered(progress):
    """A model with what decides on its learning rate and end."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=4, verbose=1)
    plateau = keras.callbacks.ReduceLROnPlateau(
        "val_loss", factor=0.5, patience=2, verbose=1
    )
    settings = Training(records="records", run="run", learning_rate=0.1)
    replay = callbacks.Replay(settings, progress, [stopping, plateau])
    made = keras.callbacks.CallbackList([stopping, plateau, replay], model=model)
    made.on_train_begin()
    return model, made


def test_callbacks_that_forget_are_shown_the_epochs_before(capsys):
    whole, made = steered(Progress())
    for epoch, loss in enumerate(VAL_LOSSES):
        made.on_epoch_end(epoch, {"val_loss": loss})
    assert whole.stop_training
    for done in range(1, len(VAL_LOSSES)):
        history = [{"epoch": k, "val_loss": VAL_LOSSES[k]} for k in range(done)]
        capsys.readouterr()
        later, made = steered(Progress(history=history))
        assert capsys.readouterr().out == ""
        for epoch in range(done, len(VAL_LOSSES)):
            assert not getattr(later, "stop_training", False)
            made.on_epoch_end(epoch, {"val_loss": VAL_LOSSES[epoch]})
        assert later.stop_training
        assert float(later.optimizer.learning_rate) == float(
            whole.optimizer.learning_rate
        )
    assert np.isclose(float(whole.optimizer.learning_rate), 0.025)
