"""The network of Figure 1: two branches with two stages each, a fusion, one linear layer."""

import torch
from torch import nn

from avlib.attention import Output, make_attention_even
from avlib.encoders import WithStandIn
from avlib.frame_networks import make_frame_network
from avlib.fusion import FUSIONS, check_dense_head, check_even_attention, check_heads
from avlib.mult import ResidualDense


class AudiovisualNet(nn.Module):
    """Emotion logits for clips of speech and face; `build_model` makes it.

    audio : (B, 10, Ta) float32 MFCCs      video : (B, Tv, 3, S, S) float32 in [0, 1]
    or features: (B, audio_channels, Ta) and (B, Tv, video_channels)
    A missing modality is a tensor of zeros. A single-modality model ignores the other.
    """

    def __init__(
        self,
        fusion: str,
        heads: int,
        classes: int,
        image_size: int,
        dense_head: bool,
        vision: str,
        audio_channels: int,
        video_channels: int,
        learned_stand_ins: bool,
    ):
        super().__init__()
        entry = FUSIONS[fusion]
        self.audio = entry.audio_branch(audio_channels)
        self.frame_network = nn.Identity()  # features need no frame network
        if "video" in entry.modalities and not video_channels:
            self.frame_network, video_channels = make_frame_network(vision, image_size)
        self.video = entry.video_branch(video_channels)
        self.learned_stand_ins = learned_stand_ins
        if learned_stand_ins and "audio" in entry.modalities:
            self.audio = WithStandIn(self.audio, (audio_channels, 1))
        if learned_stand_ins and "video" in entry.modalities:
            self.video = WithStandIn(self.video, (video_channels,))
        self.fusion = entry(heads)
        self.dense = ResidualDense(self.fusion.width) if dense_head else nn.Identity()
        self.classifier = nn.Linear(self.fusion.width, classes)

    def describe(self, video: torch.Tensor) -> torch.Tensor:
        """One descriptor per frame: (B, Tv, 3, S, S) to (B, Tv, C); features unchanged.

        C is 1024 with EfficientFace. With learned stand-ins a black frame stays zeros.
        """
        B, Tv = video.shape[:2]
        descriptors = self.frame_network(video.flatten(0, 1)).unflatten(0, (B, Tv))
        if not self.learned_stand_ins:
            return descriptors
        return descriptors * video.flatten(2).any(dim=2, keepdim=True)

    def encode(self, audio: torch.Tensor, descriptors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Stage 1 of both branches: (B, 128, Ta - 6) and (B, 64, Tv)."""
        return self.audio.stage1(audio), self.video.stage1(descriptors)

    def fuse(self, audio: torch.Tensor, video: torch.Tensor) -> Output:
        """Everything after stage 1, for (B, 128, Ta - 6) and (B, 64, Tv)."""
        audio, video, early = self.fusion.after_stage1(audio, video)
        audio = self.audio.stage2(audio)  # (B, 128, Ta - 12)
        video = self.video.stage2(video)  # (B, 128, Tv)
        audio, video, late = self.fusion.after_stage2(audio, video)
        pooled = self.dense(self.fusion.pool(audio, video))
        return Output(self.classifier(pooled), early | late)

    def forward(self, audio: torch.Tensor, video: torch.Tensor) -> Output:
        return self.fuse(*self.encode(audio, self.describe(video)))


def count_parameters(net: nn.Module) -> dict[str, int]:
    """The number of weights in each part of a network, by the part's name."""
    return {name: sum(weight.numel() for weight in part.parameters()) for name, part in net.named_children()}


def precision(device: torch.device) -> torch.autocast:
    """bfloat16 on a GPU that computes in it, which NVIDIA's do from sm_80 on; else float32: on a T4, and on a CPU."""
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_bfloat16)


def build_model(
    fusion: str = "ia",
    heads: int = 1,
    classes: int = 8,
    image_size: int = 224,
    dense_head: bool = False,
    vision: str = "efficientface",
    audio_channels: int = 10,
    video_channels: int = 0,
    even_attention: bool = False,
    learned_stand_ins: bool = False,
) -> AudiovisualNet:
    """A network with fresh weights, drawn from torch's global generator.

    fusion : an entry of `FUSIONS`      heads : in each attention
    classes : 8, or 7 without neutral; 1 for a network that returns a score, such as sentiment
    image_size : side of the face crops in pixels, a multiple of 32 from 64 (the paper: 224); weights fit every size
    dense_head : True adds a residual dense head before the classifier, for the comparison with MULT (Table III)
    vision : the frame network, efficientface or timm:NAME
    audio_channels : 10 MFCCs, or the number of audio features
    video_channels : the number of video features in each step; 0 where video comes as frames
    even_attention : True = attention that cannot choose, and never learns to, see `make_attention_even`
    learned_stand_ins : True = a learned vector stands for each step of a missing modality, see `WithStandIn`
    Raises ValueError for a value that does not fit.
    """
    if fusion not in FUSIONS:
        raise ValueError(f"fusion is '{fusion}'; choose one of {', '.join(FUSIONS)}")
    if classes < 1:
        raise ValueError(f"classes is {classes}; there must be at least 2, or 1 for a score")
    check_dense_head(fusion, dense_head)
    check_even_attention(fusion, even_attention)
    heads = check_heads(fusion, heads)
    sizes = classes, image_size, dense_head, vision, audio_channels, video_channels
    net = AudiovisualNet(fusion, heads, *sizes, learned_stand_ins)
    if even_attention:
        make_attention_even(net)
    return net
