"""Small networks: members of an ensemble, training, exact resumption, and gradients written out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from geomem.errors import InputError, TrainingError
from geomem.precision import one_thread
from geomem.scores import GaussianScore, NetworkScore
from geomem.scores.network import DIFFUSERS_PREDICTIONS
from geomem.training import (
    PARAMETRISATIONS,
    Ensemble,
    EnsembleObjective,
    EnsembleSettings,
    ResidualMLP,
    Training,
    load_training,
    members,
    save_training,
    steps,
)
from geomem.training.gradients import Gradients
from laws import deviation

DATA = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))


def config(**changes):
    return EnsembleSettings(**{"sizes": (8, 16), "dim": 4, "steps": 30, "batch_size": 16, "hidden": 16, **changes})


def train(state, data=DATA):
    return steps(state, EnsembleObjective(state, data))


def trained(asked, data=DATA):
    state = Training(asked)
    return state, list(train(state, data))


def weights(state):
    return dict(state.network.stacked.named_parameters())


def averages(state):
    return dict(zip(weights(state), state.average.shadow_params, strict=True))


def tensors(state):
    """All that a step changes, by name."""
    out = {f"average/{k}": p for k, p in averages(state).items()}
    for name, p in weights(state).items():
        out[f"weights/{name}"] = p.detach()
        out |= {f"{k}/{name}": v for k, v in state.optimizer.state.get(p, {}).items()}
    return out


def same(a, b):
    a, b = tensors(a), tensors(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_members_are_the_networks_trained_alone():
    """To float32's rounding, which batched products round otherwise: 60 steps keep weights of order 1 to 2e-6."""
    together, seen = trained(config(steps=60))
    for i, size in enumerate((8, 16)):
        alone, own = trained(config(steps=60, sizes=(size,)))
        for name, p in weights(together).items():
            assert torch.allclose(p[i], weights(alone)[name][0], rtol=0, atol=2e-6), name
            assert torch.allclose(averages(together)[name][i], averages(alone)[name][0], rtol=0, atol=2e-6), name
        for a, b in zip(seen, own, strict=True):
            assert abs(a.losses[i] - b.losses[0]) < 5e-6
    first, second = (together.network.member(i) for i in (0, 1))
    x, t = DATA[:5], torch.full((5,), 0.1)
    assert float((first(x, t) - second(x, t)).detach().abs().max()) > 1e-4


def test_a_member_sees_its_own_rows_alone():
    changed = DATA.clone()
    changed[8:] += 1
    a, b = trained(config())[0], trained(config(), changed)[0]
    for name, p in weights(a).items():
        assert torch.equal(p[0], weights(b)[name][0])
        assert not torch.equal(p[1], weights(b)[name][1])
    extended = torch.cat([DATA[:16], DATA[:16] + 9])
    assert same(a, trained(config(), extended)[0])


def test_ensemble_evaluates_its_members(generator):
    network = ResidualMLP(4, hidden=8)
    ensemble = Ensemble(network, 3)
    with torch.no_grad():
        for p in ensemble.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator))
    x, t = torch.randn(3, 5, 4, generator=generator), torch.rand(3, 5, generator=generator) + 0.1
    out = ensemble(x, t)
    with torch.no_grad():
        for i in range(3):
            assert deviation(out[i], ensemble.member(i)(x[i], t[i])) < 1e-5
    member = ensemble.member(1)
    assert not member.training
    before = [p.detach().clone() for p in ensemble.parameters()]
    with torch.no_grad():
        member.leave.bias.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(before, ensemble.parameters(), strict=True))
    with pytest.raises(InputError, match="count: at least 1 member is needed, got 0"):
        Ensemble(network, 0)


def test_steps_are_typed_and_counted():
    _, seen = trained(config())
    assert [s.step for s in seen] == list(range(1, 31))
    assert all(len(s.losses) == 2 and s.gradient is None for s in seen)
    assert seen[0].loss == pytest.approx(sum(seen[0].losses) / 2)
    expected = [1e-3 * 0.5 * (1 + math.cos(math.pi * k / 30)) for k in range(30)]
    assert [s.learning_rate for s in seen] == pytest.approx(expected)


@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_loss_falls(prediction):
    """Few samples at small noise can be told apart: the loss ends well below its start, the fewer the lower.

    The preconditioned loss of the best linear guess is 1 at every t, so below 1 the network has learned the samples.
    """
    asked = config(sizes=(1, 4), steps=200, batch_size=64, hidden=32, t_min=1e-2, t_max=0.1, learning_rate=5e-3)
    _, seen = trained(replace(asked, prediction=prediction))
    losses = torch.tensor([s.losses for s in seen])
    start, end = losses[:10].mean(0), losses[-50:].mean(0)
    assert bool(torch.all(end < 0.5 * start))
    assert float(end[0]) < 0.5 * float(end[1])


def test_average_follows_the_weights():
    """A running mean whose decay warms up as (1 + n)/(10 + n); it is not the weights themselves."""
    asked = config(ema_decay=0.9, steps=5)
    state = Training(asked)
    name = "leave.bias"
    mean = weights(state)[name].detach().clone()
    for step in train(state):
        decay = min(0.9, (1 + step.step) / (10 + step.step))
        mean = decay * mean + (1 - decay) * weights(state)[name].detach()
        assert torch.allclose(averages(state)[name], mean, atol=1e-7)
    assert not torch.allclose(mean, weights(state)[name])


def test_members_have_the_averaged_weights():
    state, _ = trained(config())
    before = {k: v.clone() for k, v in tensors(state).items()}
    for i, member in enumerate(members(state)):
        assert not member.training
        for name, p in member.named_parameters():
            assert torch.equal(p, averages(state)[name][i])
            p += 1
    assert all(torch.equal(before[k], v) for k, v in tensors(state).items())


def test_every_step_draws_anew_and_all_members_alike():
    """With weights that stand still, losses differ from step to step; of members with the same data they do not."""
    _, seen = trained(config(sizes=(16, 16), learning_rate=1e-12, steps=10))
    losses = torch.tensor([s.losses for s in seen])
    assert torch.equal(losses[:, 0], losses[:, 1])
    assert len(losses[:, 0].unique()) == 10
    spread = losses[:, 0].std() / losses[:, 0].mean()
    # 16 points of 4 entries: relative standard deviation about sqrt(2/64) = .18.
    assert 0.05 < float(spread) < 0.5


def test_loss_is_the_weighted_noise_error():
    """Of the linear denoiser at the origin: eps (1 - t/(t+s^2)), squared, times (t+s^2)/s^2, is eps^2 s^2/(t+s^2)."""
    state = Training(config(sizes=(1,), sigma_data=0.5, steps=1, batch_size=20_000, t_min=0.999, t_max=1.001))
    with torch.no_grad():
        for name in ("leave.weight", "leave.bias"):
            weights(state)[name].zero_()
    loss = next(train(state, torch.zeros(1, 4))).loss
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
    whole, seen = trained(config())
    state = Training(config())
    stepper = train(state)
    for _ in range(at):
        next(stepper)
    stepper.close()
    save_training(tmp_path / "state.safetensors", state)
    loaded = load_training(tmp_path / "state.safetensors", config())
    assert loaded.step == at
    assert same(loaded, state)
    assert list(train(loaded)) == seen[at:]
    assert same(loaded, whole)


def test_saving_changes_nothing(tmp_path):
    state, _ = trained(config(steps=3))
    before = {k: v.clone() for k, v in tensors(state).items()}
    save_training(tmp_path / "a", state)
    assert all(torch.equal(before[k], v) for k, v in tensors(state).items())


def test_data_that_are_no_numbers_stop_training_before_harm():
    state = Training(config())
    stepper = train(state)
    next(stepper)
    before, at = {k: v.clone() for k, v in tensors(state).items()}, state.step
    with pytest.raises(TrainingError, match="the loss is not finite at step 2"):
        next(train(state, torch.full_like(DATA, math.nan)))
    assert state.step == at == 1
    assert all(torch.equal(before[k], v) for k, v in tensors(state).items())
    assert next(train(state)).step == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": ()}, "sizes: must all be at least 1"),
        ({"sizes": (0, 4)}, "sizes: must all be at least 1"),
        ({"steps": 0}, "steps, batch size: must both be at least 1"),
        ({"batch_size": 0}, "steps, batch size: must both be at least 1"),
        ({"t_min": 0.0}, "need 0 < t_min < t_max"),
        ({"t_min": 30.0}, "need 0 < t_min < t_max"),
        ({"t_max": math.inf}, "need 0 < t_min < t_max"),
        ({"t_max": math.nan}, "need 0 < t_min < t_max"),
        ({"learning_rate": 0.0}, "learning rate: must be finite and above 0"),
        ({"learning_rate": math.nan}, "learning rate: must be finite and above 0"),
        ({"learning_rate": math.inf}, "learning rate: must be finite and above 0"),
        ({"ema_decay": 1.0}, "EMA decay: must be at least 0 and below 1"),
        ({"prediction": "x0"}, "prediction: 'x0' is not known; choose one of preconditioned, noise"),
        ({"sigma_data": 0.0}, "sigma_data: must all be above 0"),  # of constant data
        ({"sigma_data": -1.0}, "sigma_data: must all be above 0"),
        ({"sigma_data": math.nan}, "sigma_data: must all be above 0"),
        ({"sigma_data": math.inf}, "sigma_data: must all be above 0"),
        ({"hidden": 0}, "dim, hidden, blocks, features, sigma_data: must all be above 0"),
    ],
)
def test_wrong_configurations_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Training(config(**changes))


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
    state = Training(config())
    for data in (DATA[:15], DATA[0], DATA[:, :3]):
        with pytest.raises(InputError, match="but the largest size needs 16 samples of 4 entries"):
            train(state, data)


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


@pytest.mark.parametrize(("theirs", "ours"), DIFFUSERS_PREDICTIONS.items())
def test_predictions_by_diffusers_words(theirs, ours):
    assert NetworkScore(torch.nn.Identity(), (2,), prediction=theirs).prediction == ours
