"""Small networks: members of an ensemble, training, exact resumption, and files that are no checkpoints."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from geomem.errors import InputError, TrainingError
from geomem.scores import GaussianScore, NetworkScore
from geomem.training import (
    PARAMETRISATIONS,
    Ensemble,
    ResidualMLP,
    TrainConfig,
    TrainState,
    load_checkpoint,
    one_thread,
    save_checkpoint,
    train,
    train_together,
)
from geomem.training.gradients import Gradients
from laws import deviation

DATA = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))


def config(**changes):
    return TrainConfig(**{"sizes": (8, 16), "steps": 30, "batch_size": 16, "hidden": 16, **changes})


def trained(asked, data=DATA):
    state = TrainState(asked, 4, 1.0)
    steps = list(train(state, data))
    return state, steps


def tensors(state):
    """All that a step changes, by name."""
    out = {f"weights/{k}": p.detach() for k, p in state.ensemble.parameters.items()}
    out |= {f"average/{k}": p for k, p in state.average.items()}
    for name, p in state.ensemble.parameters.items():
        out |= {f"{k}/{name}": v for k, v in state.optimizer.state.get(p, {}).items()}
    return out


def same(a, b):
    a, b = tensors(a), tensors(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_members_are_the_networks_trained_alone():
    """To float32's rounding, which batched products round otherwise: 60 steps keep weights of order 1 to 2e-6."""
    together, steps = trained(config(steps=60))
    for i, size in enumerate((8, 16)):
        alone, own = trained(config(steps=60, sizes=(size,)))
        for name, p in together.ensemble.parameters.items():
            assert torch.allclose(p[i], alone.ensemble.parameters[name][0], rtol=0, atol=2e-6), name
            assert torch.allclose(together.average[name][i], alone.average[name][0], rtol=0, atol=2e-6), name
        for a, b in zip(steps, own, strict=True):
            assert abs(float(a.loss[i] - b.loss[0])) < 5e-6
    first, second = (together.ensemble.member(i) for i in (0, 1))
    x, t = DATA[:5], torch.full((5,), 0.1)
    assert float((first(x, t) - second(x, t)).detach().abs().max()) > 1e-4


def test_a_member_sees_its_own_rows_alone():
    changed = DATA.clone()
    changed[8:] += 1
    a, b = trained(config())[0], trained(config(), changed)[0]
    for name, p in a.ensemble.parameters.items():
        assert torch.equal(p[0], b.ensemble.parameters[name][0])
        assert not torch.equal(p[1], b.ensemble.parameters[name][1])
    extended = torch.cat([DATA[:16], DATA[:16] + 9])
    assert same(a, trained(config(), extended)[0])


def test_ensemble_evaluates_its_members(generator):
    network = ResidualMLP(4, hidden=8)
    ensemble = Ensemble(network, 3)
    for p in ensemble.parameters.values():
        p.add_(0.1 * torch.randn(p.shape, generator=generator))
    x, t = torch.randn(3, 5, 4, generator=generator), torch.rand(3, 5, generator=generator) + 0.1
    out = ensemble(x, t)
    with torch.no_grad():
        for i in range(3):
            assert deviation(out[i], ensemble.member(i)(x[i], t[i])) < 1e-5
    member = ensemble.member(1)
    assert not member.training
    before = {k: v.clone() for k, v in ensemble.parameters.items()}
    with torch.no_grad():
        member.leave.bias.add_(1)
    assert all(torch.equal(before[k], v) for k, v in ensemble.parameters.items())
    with pytest.raises(InputError, match="count: at least 1 member is needed, got 0"):
        Ensemble(network, 0)


def test_steps_are_typed_and_counted():
    _, steps = trained(config())
    assert [s.step for s in steps] == list(range(1, 31))
    assert all(s.loss.shape == (2,) and not s.loss.requires_grad for s in steps)
    expected = [1e-3 * 0.5 * (1 + math.cos(math.pi * k / 30)) for k in range(30)]
    assert [s.learning_rate for s in steps] == pytest.approx(expected)


@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_loss_falls(prediction):
    """Few samples at small noise can be told apart: the loss ends well below its start, the fewer the lower.

    The preconditioned loss of the best linear guess is 1 at every t, so below 1 the network has learned the samples.
    """
    asked = config(sizes=(1, 4), steps=200, batch_size=64, hidden=32, t_min=1e-2, t_max=0.1, learning_rate=5e-3)
    _, steps = trained(replace(asked, prediction=prediction))
    losses = torch.stack([s.loss for s in steps])
    start, end = losses[:10].mean(0), losses[-50:].mean(0)
    assert bool(torch.all(end < 0.5 * start))
    assert float(end[0]) < 0.5 * float(end[1])


def test_average_follows_the_weights():
    """A running mean whose decay warms up as (1 + n)/(10 + n); it is not the weights themselves."""
    asked = config(ema_decay=0.9, steps=5)
    state = TrainState(asked, 4, 1.0)
    name = "leave.bias"
    mean = state.ensemble.parameters[name].detach().clone()
    for step in train(state, DATA):
        decay = min(0.9, (1 + step.step) / (10 + step.step))
        mean = decay * mean + (1 - decay) * state.ensemble.parameters[name].detach()
        assert torch.allclose(state.average[name], mean, atol=1e-7)
    assert not torch.allclose(mean, state.ensemble.parameters[name])


def test_every_step_draws_anew_and_all_members_alike():
    """With weights that stand still, losses differ from step to step; of members with the same data they do not."""
    _, steps = trained(config(sizes=(16, 16), learning_rate=1e-12, steps=10))
    losses = torch.stack([s.loss for s in steps])
    assert torch.equal(losses[:, 0], losses[:, 1])
    assert len(losses[:, 0].unique()) == 10
    spread = losses[:, 0].std() / losses[:, 0].mean()
    # 16 points of 4 entries: relative standard deviation about sqrt(2/64) = .18.
    assert 0.05 < float(spread) < 0.5


def test_loss_is_the_weighted_noise_error():
    """Of the linear denoiser at the origin: eps (1 - t/(t+s^2)), squared, times (t+s^2)/s^2, is eps^2 s^2/(t+s^2)."""
    state = TrainState(config(sizes=(1,), steps=1, batch_size=20_000, t_min=0.999, t_max=1.001), 4, 0.5)
    with torch.no_grad():
        for name in ("leave.weight", "leave.bias"):
            state.ensemble.parameters[name].zero_()
    loss = float(next(train(state, torch.zeros(1, 4))).loss)
    expected = 0.25 / 1.25
    assert abs(loss / expected - 1) < 4 * math.sqrt(2 / 80_000)


@torch.random.fork_rng(devices=[])
def test_global_generators_are_left_alone():
    torch.manual_seed(99)  # another state than earlier networks left, had they left one
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the one to check
    first = trained(config(steps=3))[0]
    assert torch.equal(torch_before, torch.get_rng_state())
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002
    torch.manual_seed(123)
    assert same(first, trained(config(steps=3))[0])
    assert not same(first, trained(config(steps=3, seed=1))[0])


@pytest.mark.parametrize("at", [0, 1, 7, 30])
def test_resumption_is_exact(at, tmp_path):
    """Stopped, saved, loaded and continued: every weight, average, moment and loss as if it had never stopped."""
    whole, steps = trained(config())
    state = TrainState(config(), 4, 1.0)
    stepper = train(state, DATA)
    for _ in range(at):
        next(stepper)
    stepper.close()
    save_checkpoint(tmp_path / "state.safetensors", state)
    loaded = load_checkpoint(tmp_path / "state.safetensors")
    assert loaded.config == config()
    assert (loaded.step, loaded.dim, loaded.sigma_data) == (at, 4, 1.0)
    assert same(loaded, state)
    rest = list(train(loaded, DATA))
    assert [s.step for s in rest] == list(range(at + 1, 31))
    assert all(torch.equal(a.loss, b.loss) for a, b in zip(rest, steps[at:], strict=True))
    assert same(loaded, whole)


def test_saving_changes_nothing(tmp_path):
    state, _ = trained(config(steps=3))
    before = {k: v.clone() for k, v in tensors(state).items()}
    save_checkpoint(tmp_path / "a", state)
    assert all(torch.equal(before[k], v) for k, v in tensors(state).items())


def test_damaged_checkpoints_are_refused(tmp_path):
    state, _ = trained(config(steps=3))
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, state)
    whole = path.read_bytes()
    with safe_open(path, framework="pt") as stored:
        metadata, content = stored.metadata(), {k: stored.get_tensor(k).clone() for k in stored.keys()}  # noqa: SIM118
    header = json.loads(metadata["geomem"])

    def write(tensors, header):
        save_file(tensors, path, metadata=None if header is None else {"geomem": header})

    lacking = {k: v for k, v in content.items() if k != "exp_avg/leave.bias"}
    damages = {
        "empty": lambda: path.write_bytes(b""),
        "truncated": lambda: path.write_bytes(whole[: len(whole) // 2]),
        "last byte": lambda: path.write_bytes(whole[:-1]),
        "in the header": lambda: path.write_bytes(whole[:20]),
        "noise": lambda: path.write_bytes(bytes(range(256)) * 10),
        "text": lambda: path.write_text("{}"),
        "foreign": lambda: write(content, None),
        "no JSON": lambda: write(content, "no JSON"),
        "no object": lambda: write(content, "[1]"),
        "no step": lambda: write(content, json.dumps({k: v for k, v in header.items() if k != "step"})),
        "no sizes": lambda: write(content, json.dumps(header | {"config": {}})),
        "unknown setting": lambda: write(content, json.dumps(header | {"config": header["config"] | {"depth": 3}})),
        "other network": lambda: write(content, json.dumps(header | {"dim": 5})),
        "missing tensor": lambda: write(lacking, json.dumps(header)),
        "fewer members": lambda: write({k: v[:1].clone() for k, v in content.items()}, json.dumps(header)),
    }
    loaded = []
    for name, damage in damages.items():
        damage()
        try:
            load_checkpoint(path)
        except InputError as error:
            assert f"{path}: is no readable geomem checkpoint" in str(error)  # noqa: PT017 - all damages, then which
        else:
            loaded.append(name)
    assert not loaded
    path.unlink()
    with pytest.raises(InputError, match="delete it to train anew"):
        load_checkpoint(path)
    path.mkdir()
    with pytest.raises(InputError, match="is no readable geomem checkpoint"):
        load_checkpoint(path)
    shutil.rmtree(path)


def test_data_that_are_no_numbers_stop_training_before_harm():
    state = TrainState(config(), 4, 1.0)
    stepper = train(state, DATA)
    next(stepper)
    before, at = {k: v.clone() for k, v in tensors(state).items()}, state.step
    with pytest.raises(TrainingError, match="the loss is not finite at step 2"):
        next(train(state, torch.full_like(DATA, math.nan)))
    assert state.step == at == 1
    assert all(torch.equal(before[k], v) for k, v in tensors(state).items())
    assert next(train(state, DATA)).step == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": ()}, "sizes, steps, batch_size: must all be at least 1"),
        ({"sizes": (0, 4)}, "sizes, steps, batch_size: must all be at least 1"),
        ({"steps": 0}, "sizes, steps, batch_size: must all be at least 1"),
        ({"batch_size": 0}, "sizes, steps, batch_size: must all be at least 1"),
        ({"t_min": 0.0}, "need 0 < t_min < t_max"),
        ({"t_min": 30.0}, "need 0 < t_min < t_max"),
        ({"t_max": math.inf}, "need 0 < t_min < t_max"),
        ({"t_max": math.nan}, "need 0 < t_min < t_max"),
        ({"learning_rate": 0.0}, "a learning rate above 0"),
        ({"prediction": "x0"}, "prediction: 'x0' is not known; choose one of preconditioned, noise"),
        ({"hidden": 0}, "dim, hidden, blocks, features, sigma_data: must all be above 0"),
    ],
)
def test_wrong_configurations_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        TrainState(config(**changes), 4, 1.0)


@pytest.mark.parametrize("learning_rate", [math.nan, math.inf])
def test_learning_rates_that_are_no_numbers_are_refused(learning_rate):
    with pytest.raises(InputError, match="a learning rate above 0"):
        TrainState(config(learning_rate=learning_rate), 4, 1.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_scales_of_the_data_that_make_no_sense_are_refused(scale):
    """Constant data have a standard deviation of 0."""
    with pytest.raises(InputError, match="sigma_data: must all be above 0"):
        TrainState(config(), 4, scale)


def test_runs_side_by_side_are_the_runs_one_by_one():
    settings = [config(), config(sizes=(4,), seed=1), config(steps=12, prediction="noise")]
    states, steps, waits = [TrainState(c, 4, 1.0) for c in settings], [[], [], []], []
    threads = torch.get_num_threads()
    train_together(
        [(s, DATA) for s in states], on_step=lambda i, s: steps[i].append(s), on_wait=lambda: waits.append(1), workers=2
    )
    assert waits
    assert torch.get_num_threads() == threads
    for asked, state, own in zip(settings, states, steps, strict=True):
        alone, expected = trained(asked)
        assert same(state, alone)
        assert all(torch.equal(a.loss, b.loss) for a, b in zip(own, expected, strict=True))


@pytest.mark.parametrize("error", [TrainingError, KeyboardInterrupt], ids=lambda e: e.__name__)
def test_runs_side_by_side_stop_together(error):
    """What stops one, or the user, stops all after a step; their states are whole and go on."""
    states = [TrainState(config(steps=100_000), 4, 1.0) for _ in range(2)]
    bad = torch.full_like(DATA, math.nan) if error is TrainingError else DATA

    def interrupt():
        if error is KeyboardInterrupt and states[0].step > 3:
            raise KeyboardInterrupt

    with pytest.raises(error):
        train_together([(states[0], DATA), (states[1], bad)], on_step=lambda i, s: None, on_wait=interrupt, workers=2)
    assert states[0].step < 100_000
    whole = TrainState(config(steps=100_000), 4, 1.0)
    for _, step in zip(range(states[0].step), train(whole, DATA), strict=False):
        assert step.step <= states[0].step
    assert same(states[0], whole)


def test_one_thread_inside_the_block_alone():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_too_few_data_are_refused(unchecked):
    state = TrainState(config(), 4, 1.0)
    for data in (DATA[:15], DATA[0]):
        with pytest.raises(InputError, match="does not hold the 16 samples of the largest size"):
            next(train(state, data))


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_preconditioned_network_corrects_the_linear_denoiser(sigma, generator):
    """With its last layer at zero it is the score of a Gaussian of standard deviation sigma_data, exactly."""
    network = ResidualMLP(6, hidden=8, sigma_data=sigma).double()
    with torch.no_grad():
        network.leave.weight.zero_()
        network.leave.bias.zero_()
    t = torch.tensor([1e-8, 0.1, 100.0], dtype=torch.float64)
    x = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    truth = GaussianScore(torch.full((6,), sigma**2, dtype=torch.float64))
    with torch.no_grad():
        assert deviation(NetworkScore(network, (6,))(x, t), truth(x, t), 1) < 1e-14


def test_preconditioning_is_karras_s(generator):
    """D = c_skip x + c_out F(c_in x, .), with c_skip = s^2/(t+s^2), c_out = s sqrt(t/(t+s^2)), s = sigma_data."""
    network, raw = (ResidualMLP(6, hidden=8, prediction=p, sigma_data=0.7).double() for p in PARAMETRISATIONS)
    raw.load_state_dict(network.state_dict())
    t = torch.tensor([1e-4, 0.1, 100.0], dtype=torch.float64)
    x = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        denoised = NetworkScore(network, (6,)).denoised(x, t)
        total, f = (t + 0.49)[:, None], raw(x, t)
    seen = []
    network.enter.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(x, t)
    assert deviation(seen[0], x / total.sqrt(), 1) < 1e-14
    assert deviation(denoised, 0.49 / total * x + 0.7 * (t[:, None] / total).sqrt() * f, 1) < 1e-13
    # EDM's weight of the denoising error (t + s^2)/(t s^2), in terms of the noise error: times t.
    assert torch.allclose(network.loss_weight(t), (t + 0.49) / 0.49)
    assert torch.equal(raw.loss_weight(t), torch.ones_like(t))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction": "v"}, "prediction: 'v' is not known"),
        ({"hidden": 0}, "must all be above 0"),
        ({"blocks": 0}, "must all be above 0"),
        ({"features": 0}, "must all be above 0"),
        ({"sigma_data": 0.0}, "must all be above 0"),
        ({"sigma_data": math.inf}, "must all be above 0"),
    ],
)
def test_wrong_networks_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ResidualMLP(4, **options)


@pytest.mark.parametrize("prediction", ["noise", "preconditioned"])
@pytest.mark.parametrize("blocks", [1, 3])
def test_gradients_written_out_are_those_of_automatic_differentiation(prediction, blocks, generator):
    """Twice in a row, since memory is used again, with weights that changed in between."""
    network = ResidualMLP(5, hidden=16, blocks=blocks, sigma_data=0.7, prediction=prediction).double()
    stacked = {k: torch.stack([p.detach(), 1.3 * p.detach()]).requires_grad_() for k, p in network.named_parameters()}
    written = Gradients(network, stacked, 6)
    for _ in range(2):
        y = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
        noise = torch.randn(6, 5, generator=generator, dtype=torch.float64)
        t = torch.rand(6, generator=generator, dtype=torch.float64) + 1e-3
        loss, gradients = written(y, noise, t)
        for i in range(2):
            own = {k: p[i] for k, p in stacked.items()}
            predicted = torch.func.functional_call(network, own, (y[i] + t.sqrt()[:, None] * noise, t))
            expected = torch.mean(network.loss_weight(t) * (predicted - noise).square().mean(-1))
            assert float(loss[i] / expected.detach()) == pytest.approx(1, rel=1e-12)
            for found, right in zip(gradients, torch.autograd.grad(expected, list(stacked.values())), strict=True):
                assert torch.allclose(found[i], right[i], rtol=1e-11, atol=1e-13)
        with torch.no_grad():
            for p in stacked.values():
                p += 0.1 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
