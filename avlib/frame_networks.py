"""The frame network: the paper's EfficientFace, or a network of timm by its name."""

import logging
from difflib import get_close_matches

import torch
from torch import nn

from avlib.efficientface import FEATURES, STRIDE, EfficientFace

PREFIX = "timm:"  # before the name of one of timm's networks
log = logging.getLogger(__name__)


class TimmNetwork(nn.Module):
    """Frame descriptors (N, features) of face images (N, 3, S, S) in [0, 1], by a network of timm.

    name : timm's, such as mobilenetv4_conv_small
    Images are normalised as in the network's own training.
    """

    def __init__(self, name: str):
        import timm  # takes seconds; EfficientFace does not need it

        super().__init__()
        self.name = name
        self.network = timm.create_model(name, pretrained=False, num_classes=0)
        training = self.network.pretrained_cfg
        self.register_buffer("mean", torch.tensor(training["mean"]).view(3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(training["std"]).view(3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network((images - self.mean) / self.spread)

    def fetch(self) -> str:
        """Loads timm's weights where they can be fetched. Returns a line that says where the weights come from."""
        import timm

        try:
            fetched = timm.create_model(self.name, pretrained=True, num_classes=0)
        except Exception as error:  # of many kinds: no connection, no such weights
            log.warning(
                "%s starts from random weights: timm could not fetch its own (%s)", self.name, type(error).__name__
            )
            return f"{self.name}: fresh weights, from the seed"
        self.network.load_state_dict(fetched.state_dict())
        return f"{self.name}: timm's weights {fetched.pretrained_cfg['hf_hub_id'] or fetched.pretrained_cfg['url']}"


def make_frame_network(vision: str, image_size: int) -> tuple[nn.Module, int]:
    """A frame network with fresh weights, and the length of its descriptors.

    vision : efficientface, or timm:NAME      image_size : side of the images in pixels
    Raises ValueError for an unknown network, and for a size that it does not take.
    """
    check_vision(vision)
    if vision == "efficientface":
        check_image_size(image_size)
        return EfficientFace(), FEATURES
    network = TimmNetwork(vision.removeprefix(PREFIX))
    try:
        with torch.inference_mode():
            descriptors = network.eval()(torch.zeros(1, 3, image_size, image_size))
    except Exception as error:  # each network fails in its own way at a wrong size
        raise ValueError(f"{vision} takes no images of {image_size} pixels: {error}") from None
    return network.train(), descriptors.shape[1]


def check_vision(vision: str) -> None:
    """Raises ValueError for an unknown frame network, with the nearest name."""
    if vision == "efficientface":
        return
    if not vision.startswith(PREFIX):
        raise ValueError(
            f"vision is '{vision}'; choose efficientface, or timm:NAME such as timm:mobilenetv4_conv_small"
        )
    import timm

    name = vision.removeprefix(PREFIX)
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=1)
        hint = f": did you mean '{PREFIX}{near[0]}'?" if near else ""
        raise ValueError(f"vision is '{vision}', which timm {timm.__version__} does not know{hint}")
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:  # timm knows the network, but not the weights named after the dot
        raise ValueError(f"vision is '{vision}', and timm {timm.__version__} says: {error}") from None


def check_image_size(image_size: int) -> None:
    """Raises ValueError for a size that EfficientFace does not take."""
    if image_size < 2 * STRIDE or image_size % STRIDE:
        raise ValueError(f"image_size is {image_size}; choose a multiple of {STRIDE} from {2 * STRIDE}, as 64 or 224")
