"""Tiny pipelines of every family on disk, of random weights, as diffusers writes them; and what they predict by diffusers alone."""

import io
import json
import warnings
from pathlib import Path

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LDMPipeline,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UNet2DModel,
    VQModel,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what these libraries import
    import sentencepiece
    import transformers
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
        T5Config,
        T5EncoderModel,
        T5Tokenizer,
    )

__all__ = ["KINDS", "TEXTS", "predicted", "saved", "theirs"]

# Kinds of pipelines, and those that are conditioned on texts.
TEXTS = ("sd", "sdxl", "pixart", "sd3", "flux")
KINDS = (*TEXTS, "dit", "ldm")
LATENTS, SIDE = 4, 8
_SENTENCES = ["a cat on a mat", "the dog and the moon", "red green blue sky", "grinning face with smiling eyes"]


def saved(kind: str, folder: Path) -> Path:
    """A pipeline's folder."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        _MADE[kind](folder / "words").save_pretrained(folder / kind)
    return folder / kind


def theirs(folder: Path) -> DiffusionPipeline:
    """The pipeline as diffusers opens it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return DiffusionPipeline.from_pretrained(folder)


@torch.no_grad()
def predicted(pipe: DiffusionPipeline, kind: str, x: torch.Tensor, step: torch.Tensor, words: list) -> torch.Tensor:
    """What the network predicts at points on its own scale, as diffusers' pipeline asks it to."""
    n, side = len(x), 2 * SIDE
    if kind == "sd":
        hidden, _ = pipe.encode_prompt(words, "cpu", 1, False)
        return pipe.unet(x, step, hidden).sample
    if kind == "sdxl":
        hidden, _, pooled, _ = pipe.encode_prompt(
            words, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        width = pipe.text_encoder_2.config.projection_dim
        sizes = pipe._get_add_time_ids((side, side), (0, 0), (side, side), hidden.dtype, width).repeat(n, 1)
        return pipe.unet(x, step, hidden, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}).sample
    if kind == "pixart":
        hidden, mask, _, _ = pipe.encode_prompt(words, False, device="cpu", max_sequence_length=120)
        added = {"resolution": torch.full((n, 2), float(side)), "aspect_ratio": torch.ones(n, 1)}
        out = pipe.transformer(
            x, encoder_hidden_states=hidden, encoder_attention_mask=mask, timestep=step, added_cond_kwargs=added
        )
        return out.sample.chunk(2, 1)[0]
    if kind == "sd3":
        hidden, _, pooled, _ = pipe.encode_prompt(words, words, words, device="cpu", do_classifier_free_guidance=False)
        return pipe.transformer(x, encoder_hidden_states=hidden, pooled_projections=pooled, timestep=step).sample
    if kind == "flux":
        hidden, pooled, ids = pipe.encode_prompt(words, words, device="cpu")
        c, h, w = x.shape[1:]
        out = pipe.transformer(
            pipe._pack_latents(x, n, c, h, w),
            encoder_hidden_states=hidden,
            pooled_projections=pooled,
            timestep=step / 1000,
            img_ids=pipe._prepare_latent_image_ids(n, h // 2, w // 2, "cpu", x.dtype),
            txt_ids=ids,
            guidance=torch.full((n,), 3.5),
        ).sample
        return pipe._unpack_latents(out, side, side, pipe.vae_scale_factor)
    if kind == "dit":
        labels = torch.tensor([10 if word is None else word for word in words])
        return pipe.transformer(x, timestep=step, class_labels=labels).sample[:, :LATENTS]
    return pipe.unet(x, step).sample


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """One of letters, of 16 tokens at most."""
    letters = [chr(c) for c in range(33, 127)]
    known = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(known)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)


def clip(words: CLIPTokenizer, kind: type = CLIPTextModel, width: int = 32) -> CLIPTextModel:
    return kind(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=width,
            intermediate_size=37,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=16,
            projection_dim=32,
            bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )


def t5_tokenizer(folder: Path) -> T5Tokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_SENTENCES * 20),
        model_writer=out,
        vocab_size=30,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(out.getvalue())
    return T5Tokenizer.from_pretrained(str(folder), extra_ids=0)


def t5(words: T5Tokenizer) -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=len(words) + 4, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4))


def vae(**options) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=LATENTS,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        sample_size=2 * SIDE,
        **options,
    )


def text_unet(**options) -> UNet2DConditionModel:
    small = {
        "sample_size": SIDE,
        "block_out_channels": (16, 32),
        "norm_num_groups": 4,
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 4,
        "cross_attention_dim": 32,
    }
    return UNet2DConditionModel(**{**small, **options})


def _sd(folder: Path) -> DiffusionPipeline:
    words = clip_tokenizer(folder)
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(words),
        tokenizer=words,
        unet=text_unet(),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl(folder: Path) -> DiffusionPipeline:
    words = clip_tokenizer(folder)
    unet = text_unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=32 + 6 * 8,
        cross_attention_dim=64,
        transformer_layers_per_block=(1, 1),
        use_linear_projection=True,
    )
    return StableDiffusionXLPipeline(
        vae=vae(),
        text_encoder=clip(words),
        text_encoder_2=clip(words, CLIPTextModelWithProjection),
        tokenizer=words,
        tokenizer_2=words,
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
    )


def _pixart(folder: Path) -> DiffusionPipeline:
    words = t5_tokenizer(folder)
    transformer = PixArtTransformer2DModel(
        sample_size=SIDE,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=3,
        caption_channels=32,
        in_channels=LATENTS,
        cross_attention_dim=24,
        out_channels=2 * LATENTS,
        attention_bias=True,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        use_additional_conditions=True,
    )
    return PixArtAlphaPipeline(
        tokenizer=words,
        text_encoder=t5(words),
        vae=vae(),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(),
    )


def _sd3(folder: Path) -> DiffusionPipeline:
    words, long = clip_tokenizer(folder), t5_tokenizer(folder)
    transformer = SD3Transformer2DModel(
        sample_size=SIDE,
        patch_size=1,
        in_channels=LATENTS,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=LATENTS,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(shift_factor=0.06),
        text_encoder=clip(words, CLIPTextModelWithProjection, 16),
        tokenizer=words,
        text_encoder_2=clip(words, CLIPTextModelWithProjection, 16),
        tokenizer_2=words,
        text_encoder_3=t5(long),
        tokenizer_3=long,
    )


def _flux(folder: Path) -> DiffusionPipeline:
    words, long = clip_tokenizer(folder), t5_tokenizer(folder)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENTS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(shift_factor=0.06),
        text_encoder=clip(words),
        tokenizer=words,
        text_encoder_2=t5(long),
        tokenizer_2=long,
        transformer=transformer,
    )


def _dit(folder: Path) -> DiffusionPipeline:
    transformer = DiTTransformer2DModel(
        sample_size=SIDE,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=LATENTS,
        out_channels=2 * LATENTS,
        attention_bias=True,
        num_embeds_ada_norm=10,
        norm_type="ada_norm_zero",
        norm_elementwise_affine=False,
    )
    return DiTPipeline(transformer=transformer, vae=vae(), scheduler=DDIMScheduler())


def _ldm(folder: Path) -> DiffusionPipeline:
    coder = VQModel(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=3,
        num_vq_embeddings=16,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )
    unet = UNet2DModel(
        sample_size=SIDE,
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )
    return LDMPipeline(vqvae=coder, unet=unet, scheduler=DDIMScheduler())


_MADE = {"sd": _sd, "sdxl": _sdxl, "pixart": _pixart, "sd3": _sd3, "flux": _flux, "dit": _dit, "ldm": _ldm}


def quiet() -> None:
    """Without the progress bars and hints of the libraries; geomem's own warnings stay."""
    for logging in (transformers.utils.logging, diffusers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
