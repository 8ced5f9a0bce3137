"""The other side of `on_gpu.py`: segmentation_models.pytorch."""

import segmentation_models_pytorch as smp
import torch

from lib import gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Side:
    """Steps of the network."""

    def __init__(self, size):
        self.size = size
        network = smp.Unet("resnet34", encoder_weights=None, classes=4).to(DEVICE)
        self.network = network.to(memory_format=torch.channels_last)
        fused = DEVICE == "cuda"
        self.optimizer = torch.optim.Adam(network.parameters(), 5e-4, fused=fused)
        self.bce = torch.nn.BCEWithLogitsLoss()
        self.dice = smp.losses.DiceLoss("multilabel", from_logits=True)

    def backward(self, images, masks):
        """Computes the gradients."""
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = self.network(images)
        logits = logits.float()
        (self.bce(logits, masks) + self.dice(logits, masks)).backward()

    def probabilities(self, images):
        """Predicts."""
        with torch.autocast(DEVICE, torch.bfloat16):
            return torch.sigmoid(self.network(images).float())

    def __call__(self, what, batch):
        """A step, a wait, and the peak memory (see `gpu.measure_all`)."""
        torch.compiler.reset()
        backward, predict = map(torch.compile, (self.backward, self.probabilities))
        images = torch.rand(batch, 3, *self.size, device=DEVICE)
        images = images.to(memory_format=torch.channels_last)
        masks = torch.randint(0, 2, (batch, 4, *self.size), device=DEVICE).float()
        self.network.train(what == "train")
        if DEVICE == "cuda":
            torch.cuda.reset_peak_memory_stats()

        def train():
            backward(images, masks)
            self.optimizer.step()
            self.optimizer.zero_grad()

        @torch.no_grad()
        def infer():
            predict(images)

        return train if what == "train" else infer, wait, memory


def wait():
    """Waits for the card."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def memory():
    """Peak bytes, None if unknown."""
    return torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None


if __name__ == "__main__":
    options = gpu.options()
    gpu.report(kind="versions", torch=torch.__version__, smp=smp.__version__)
    gpu.measure_all(Side(tuple(options.size)), options, skip=(gpu.AUGMENTED,))
