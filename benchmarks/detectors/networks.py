"""The networks of train.py, by their settings, and a tokenizer of captions."""

import json
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path

from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from geomem.training.loop import Settings

__all__ = ["Adapter", "Autoencoder", "TextToImage", "tokenizer_of"]

_WARM_UP, _LENGTH, _WIDTH, _VOCABULARY = 100, 24, 64, 2000
_SPECIAL = ["<|startoftext|>", "<|endoftext|>"]


@dataclass(frozen=True, kw_only=True)
class _Annealed(Settings):
    def rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine."""
        return self.learning_rate * min(1.0, (step + 1) / _WARM_UP) * (1 + cos(pi * step / self.steps)) / 2


@dataclass(frozen=True, kw_only=True)
class Autoencoder(_Annealed):
    """Settings of an autoencoder of images."""

    def build(self) -> nn.Module:
        down, up = ("DownEncoderBlock2D",) * 3, ("UpDecoderBlock2D",) * 3
        return AutoencoderKL(3, 3, down, up, (16, 32, 64), latent_channels=4, norm_num_groups=8, sample_size=32)


@dataclass(frozen=True, kw_only=True)
class TextToImage(_Annealed):
    """Settings of a U-Net and its text encoder.

    Attributes:
        tokens: Size of the vocabulary; the last token ends a text.
    """

    tokens: int

    def build(self) -> nn.Module:
        text = CLIPTextConfig(
            vocab_size=self.tokens,
            hidden_size=_WIDTH,
            intermediate_size=4 * _WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=_LENGTH,
            bos_token_id=self.tokens - 2,
            eos_token_id=self.tokens - 1,
            pad_token_id=self.tokens - 1,
        )
        unet = UNet2DConditionModel(
            8,
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            block_out_channels=(64, 96),
            layers_per_block=1,
            cross_attention_dim=_WIDTH,
            attention_head_dim=4,  # the number of heads, by a mistake in diffusers that stays for old models
            norm_num_groups=16,
        )
        return nn.ModuleDict({"unet": unet, "text_encoder": CLIPTextModel(text)})


@dataclass(frozen=True, kw_only=True)
class Adapter(_Annealed):
    """Settings of a LoRA.

    Attributes:
        base: Folder of the pipeline that is fine-tuned.
        rank: Rank of the updates.
    """

    base: str
    rank: int

    def build(self) -> nn.Module:
        pipeline = StableDiffusionPipeline.from_pretrained(self.base)
        unet, text = pipeline.unet.requires_grad_(False), pipeline.text_encoder.requires_grad_(False)
        targets = ["to_q", "to_k", "to_v", "to_out.0"]
        unet.add_adapter(LoraConfig(r=self.rank, lora_alpha=self.rank, target_modules=targets))
        return nn.ModuleDict({"unet": unet, "text_encoder": text})


def tokenizer_of(texts: list[str], folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary learned from captions; its files are written to `folder`."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    like = CLIPTokenizer().backend_tokenizer
    bpe.normalizer, bpe.pre_tokenizer = like.normalizer, like.pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = _VOCABULARY - len(_SPECIAL)
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False),
    )
    learned = json.loads(bpe.to_str())["model"]
    vocabulary = learned["vocab"] | {word: len(learned["vocab"]) + i for i, word in enumerate(_SPECIAL)}
    tokenizer = CLIPTokenizer(vocabulary, [tuple(pair) for pair in learned["merges"]], model_max_length=_LENGTH)
    tokenizer.save_pretrained(folder)
    tokenizer.backend_tokenizer.model.save(str(folder))  # vocab.json and merges.txt, which older versions read
    return tokenizer
