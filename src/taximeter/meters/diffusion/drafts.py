"""From a model's folder in diffusers' layout to a draft of its entry in the catalog."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from taximeter.meters.diffusion.experts import Switch
from taximeter.meters.diffusion.families import FAMILIES, Family
from taximeter.meters.diffusion.pipeline import Architecture, TextEncoder, TextPass, Transformer, Vae, add_up
from taximeter.meters.draft import Cost, Draft, Files
from taximeter.meters.errors import BadProfile

METER = "video.dit/2"
INDEX = "model_index.json"
UNPRICED = (
    "latent_tokens",
    "passes",
    "high_passes",
    "low_passes",
    "frames",
    "transformer_flop",
    "conditioning_flop",
    "vae_flop",
    "text_encoder_flop",
    "article_input_tokens",
    "article_units",
    "activations",
)
COSTS = (
    Cost(quantity="linear_flop", label="Denoising, decoding and text encoding", linear_flop=1),
    Cost(quantity="attention_flop", label="Attention", attention_flop=1),
)
SIDE_MAX = 2048
SECONDS_MAX = 60


def draft(files: Files) -> Draft | None:
    """The model in these files, or None when it is no video transformer that is known here.

    Raises BadProfile naming the file and the entry when one is missing or makes no sense.
    """
    transformer = files.get("transformer/config.json", {}).get("_class_name")
    if not isinstance(transformer, str) or transformer not in FAMILIES:
        return None
    family = FAMILIES[transformer]
    architecture = _architecture(files, family)
    pipeline = add_up(architecture)
    profile = _plain(msgspec.to_builtins(architecture)) | _limits(files, family, architecture)
    notes = [
        "Sizes, steps, frames a second and length are those that the model was published for; pipelines called without them may make less.",
        "Weights are held in bfloat16" + ("; the autoencoder in float32." if family.name == "Wan" else "."),
        "Decoding is neither tiled nor sliced; caches that skip steps are off.",
    ]
    if architecture.switch is not None:
        shift = architecture.switch.flow_shift
        notes.append(f"The experts take turns by the scheduler's file (flow_shift {shift}); whoever sets another shift moves the turn.")
    if family.name == "HunyuanVideo":
        notes.append("The prompt's template takes 95 positions of the first text encoder.")
    if family.name == "Mochi":
        notes.append("Every prompt fills its positions; shorter ones cost a little less attention.")
    return Draft(
        family=family.name,
        modality="video",
        meter=METER,
        profile=profile,
        costs=COSTS,
        unpriced=UNPRICED,
        resident_bytes=sum(pipeline.resident.values()),
        assumptions=tuple(notes),
    )


def _architecture(files: Files, family: Family) -> Architecture:
    index = files.get(INDEX, {})
    entries: dict[str, Any] = {
        "transformer": _read(files, "transformer/config.json", "_class_name", Transformer),
        "vae": _read(files, "vae/config.json", "_class_name", Vae),
    }
    text = entries["text_positions"] = getattr(entries["transformer"], "max_text_seq_length", family.text_positions)
    entries["text_encoders"] = tuple(
        TextPass(
            positions=text if positions == family.text_positions else positions,
            config=_read(files, f"{folder}/config.json", "model_type", TextEncoder),
        )
        for folder, positions in family.encoders
    )
    latent = getattr(entries["vae"], "z_dim", None) or entries["vae"].latent_channels
    if entries["transformer"].in_channels != latent and family.name != "Wan":
        message = f"must be the {latent} channels of the latent film; models that take a picture are not read for this family"
        raise BadProfile(key="transformer/config.json: in_channels", message=message)
    if family.name == "Wan":
        entries |= _wan(files, index, entries)
    if family.name == "HunyuanVideo" and entries["transformer"].guidance_embeds:
        entries["guidance_by"] = "input"
    try:
        return msgspec.convert(entries, Architecture, from_attributes=True)
    except msgspec.ValidationError as error:
        raise BadProfile(key=INDEX, message=str(error)) from error


def _wan(files: Files, index: Mapping[str, Any], entries: Mapping[str, Any]) -> dict[str, Any]:
    """What Wan's pipelines add: a second expert, time for every token, a picture."""
    found: dict[str, Any] = {"frame_rule": "diffusers"}
    expand = bool(index.get("expand_timesteps"))
    if expand:
        found |= {"time_per_token": True, "picture": "frame"}
    elif entries["transformer"].in_channels > entries["vae"].z_dim:
        found["picture"] = "film"
    boundary = index.get("boundary_ratio")
    if boundary is None and "transformer_2/config.json" not in files:
        return found
    scheduler = files.get("scheduler/scheduler_config.json")
    if scheduler is None:
        raise BadProfile(key="scheduler/scheduler_config.json", message="is missing; two experts are switched by its timesteps")
    if scheduler.get("_class_name") != "UniPCMultistepScheduler" or not scheduler.get("use_flow_sigmas"):
        raise BadProfile(key="scheduler/scheduler_config.json: _class_name", message="must be UniPCMultistepScheduler with use_flow_sigmas")
    if boundary is None:
        raise BadProfile(key=f"{INDEX}: boundary_ratio", message="is missing; it says when the second expert takes over")
    switch = {"flow_shift": scheduler.get("flow_shift"), "boundary_ratio": boundary, "sigmas": "diffusers"}
    switch["num_train_timesteps"] = scheduler.get("num_train_timesteps", 1000)
    try:
        found["switch"] = msgspec.convert(_exact(switch), Switch)
    except msgspec.ValidationError as error:
        raise BadProfile(key="scheduler/scheduler_config.json: flow_shift", message=str(error)) from error
    found["transformer_2"] = _read(files, "transformer_2/config.json", "_class_name", Transformer)
    return found


def _read(files: Files, path: str, tag: str, kind: Any) -> Any:  # noqa: ANN401 - a union of structures
    """One file as the structure that its tag names; entries that change no cost are left out."""
    config = files.get(path)
    if config is None:
        raise BadProfile(key=path, message="is missing")
    known = {str(member.__struct_config__.tag): member for member in kind.__args__}
    named = config.get(tag)
    found = known.get(named) if isinstance(named, str) else None
    if found is None:
        raise BadProfile(
            key=f"{path}: {tag}",
            message=f"must be one of {', '.join(sorted(known))}, not {str(named)[:40] if isinstance(named, str) else type(named).__name__!r}",
        )
    wanted = {tag, *found.__struct_fields__}
    try:
        return msgspec.convert(_exact({key: value for key, value in config.items() if key in wanted}), found)
    except msgspec.ValidationError as error:
        text = str(error)
        missing = re.search(r"missing required field `([^`]*)`", text)
        where = re.search(r"at `\$\.?([^`.\[]*)", text)
        key = missing.group(1) if missing else where.group(1) if where else ""
        raise BadProfile(key=f"{path}: {key}" if key else path, message=text.split(" - at ", maxsplit=1)[0]) from error


def _exact(value: Any) -> Any:  # noqa: ANN401 - parsed JSON
    """JSON without floats: whole ones as integers, others as the decimal that was written."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else str(value)
    if isinstance(value, Mapping):
        return {key: _exact(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(entry) for entry in value]
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401 - parsed JSON
    """The same without empty entries, which a catalog has no way to write; lists instead of tuples."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items() if entry is not None and entry != ()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _limits(files: Files, family: Family, architecture: Architecture) -> dict[str, Any]:
    """Sizes, lengths and steps."""
    sizes, fps, seconds = family.sizes, family.fps, family.seconds
    stride = architecture.vae.strides[1]
    step = stride * architecture.transformer.patch[1]
    config = files["transformer/config.json"]
    if family.name == "CogVideoX" and isinstance(config.get("sample_width"), int) and isinstance(config.get("sample_height"), int):
        sizes = (f"{config['sample_width'] * stride}x{config['sample_height'] * stride}",)
    if architecture.transformer.patch[0] > 1:
        fps, seconds = 16, "5.0625"  # CogVideoX 1.5
    if architecture.time_per_token:
        sizes, fps, seconds = ("1280x704", "704x1280"), 24, "5"  # Wan 2.2 TI2V-5B: 121 frames
    return {
        "sizes": list(sizes),
        "default_size": sizes[0],
        "other_sizes": {"side_min": 2 * step, "side_max": SIDE_MAX, "multiple_of": step},
        "default_seconds": seconds,
        "seconds_max": SECONDS_MAX,
        "default_fps": fps,
        "default_steps": family.steps,
    }
