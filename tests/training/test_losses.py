"""What is trained: the teacher's context is the network's own, and the losses fall."""

from dataclasses import replace

import pytest
import torch

from inference.piano.config import NoteState, Output
from inference.piano.losses import LossConfig, disturbed, joint_loss, recursive_loss, teacher_context
from inference.piano.mix import Batch
from inference.piano.network import PianoNetwork
from tests.contract.networks import SMALL, noise, restless


@pytest.mark.parametrize("name", ["par", "par-compact"])
def test_forcing_the_networks_own_decisions_gives_its_own_output(name):
    """Free running and teacher forcing are the same computation."""
    config = SMALL[name]
    network = restless(config)
    audio = noise(60 * config.hop, torch.Generator().manual_seed(2))
    with torch.no_grad():
        free = network(audio)
        states = free[..., : len(NoteState)].argmax(-1)
        struck = (states == NoteState.ONSET) | (states == NoteState.REONSET)
        loud = free[..., len(NoteState)].clamp(0, 1)
        held = torch.zeros_like(loud)
        for frame in range(states.shape[1]):
            before = held[:, frame - 1] if frame else torch.zeros_like(loud[:, 0])
            sustained = torch.where(states[:, frame] == NoteState.SUSTAIN, before, 0.0)
            held[:, frame] = torch.where(struck[:, frame], loud[:, frame], sustained)
        context = teacher_context(states, held, config)
        # After a sustained frame without an onset the network counts on, a teacher cannot.
        context = context._replace(duration=_counted(states, config))
        forced = network.teacher_forced(network.front_end(audio), context)
    assert (free - forced).abs().max() < 1e-4


def _counted(states, config):
    frame = config.hop / config.rate / config.longest_duration_s
    duration = torch.zeros(states.shape)
    now = torch.zeros(states[:, 0].shape)
    for index in range(states.shape[1] - 1):
        state = states[:, index]
        struck = (state == NoteState.ONSET) | (state == NoteState.REONSET)
        now = torch.where(struck, frame, torch.where(state == NoteState.SUSTAIN, now + frame, 0.0)).clamp(
            max=1
        )
        duration[:, index + 1] = now
    return duration


def test_the_teachers_context_follows_the_notes():
    states = torch.tensor([[0, 2, 3, 3, 1, 0, 2, 4, 3]])[..., None].expand(1, 9, 88)
    velocity = torch.tensor([[0, 0.5, 0.5, 0.5, 0, 0, 0.2, 0.9, 0.9]])[..., None].expand(1, 9, 88)
    config = replace(SMALL["par"], longest_duration_s=SMALL["par"].hop * 4 / SMALL["par"].rate)
    context = teacher_context(states, velocity, config)
    assert context.state[0, :, 0].tolist() == [0, 0, 2, 3, 3, 1, 0, 2, 4]
    assert context.duration[0, :, 0].tolist() == [0, 0, 0.25, 0.5, 0.75, 0, 0, 0.25, 0.25]
    assert context.velocity[0, :, 0].tolist() == pytest.approx([0, 0, 0.5, 0.5, 0.5, 0, 0, 0.2, 0.9])


def test_disturbed_context_is_wrong_near_notes_only():
    states = torch.zeros(1, 400, 88, dtype=torch.long)
    states[:, 200:220, 40] = NoteState.SUSTAIN
    context = teacher_context(states, torch.zeros(1, 400, 88), SMALL["par"])
    wrong = disturbed(context, states, torch.Generator().manual_seed(0)).state != context.state
    assert wrong[:, 197:223, 40].any()
    assert not wrong[:, :190].any() and not wrong[:, 230:].any() and not wrong[..., :40].any()


def batch(config, frames=24):
    generator = torch.Generator().manual_seed(1)
    front = PianoNetwork(config).front_end
    with torch.no_grad():
        features = front(noise(frames * config.hop, generator))
    states = torch.randint(0, 5, (2, frames, 88), generator=generator)
    velocity = torch.rand(2, frames, 88, generator=generator)
    key = torch.where(torch.rand(2, frames, 88, generator=generator) < 0.5, torch.nan, 1.0)
    pedal = torch.full((2, frames), torch.nan)
    pedal[0] = 1.0
    return Batch(features, states, velocity, velocity - 0.5, key, pedal)


@pytest.mark.parametrize("name", ["light", "par"])
def test_training_lowers_every_loss(name):
    config = SMALL[name]
    torch.manual_seed(0)
    network, data = PianoNetwork(config).train(), batch(config, 48)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    random = torch.Generator().manual_seed(0)

    def losses():
        if config.joint:
            return joint_loss(network, data, LossConfig())
        return recursive_loss(network, data, random)

    first = {k: v.item() for k, v in losses().items()}
    for _ in range(40):
        optimiser.zero_grad()
        losses()["total"].backward()
        optimiser.step()
    last = {k: v.item() for k, v in losses().items()}
    for part in ("total", "state", "velocity"):
        assert last[part] < first[part], (part, first, last)
    for parameter in network.parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()


def test_delays_that_are_drawn_stand_for_all():
    config = SMALL["light"]
    network, data, random = PianoNetwork(config).eval(), batch(config, 48), torch.Generator().manual_seed(3)
    with torch.no_grad():
        every = joint_loss(network, data, LossConfig())["total"].item()
        drawn = [joint_loss(network, data, LossConfig(), random)["total"].item() for _ in range(60)]
    assert len(set(drawn)) > 5
    assert abs(sum(drawn) / len(drawn) / every - 1) < 0.02


def test_what_is_not_known_is_not_learned_from():
    config = SMALL["light"]
    network, data = PianoNetwork(config).train(), batch(config)
    unknown = data._replace(
        pedal=torch.full_like(data.pedal, torch.nan), key=torch.full_like(data.key, torch.nan)
    )
    losses = joint_loss(network, unknown, LossConfig())
    assert losses["pedal"].item() == losses["key"].item() == 0
    losses["total"].backward()
    assert network.head.keys.weight.grad[Output.KEY].abs().max() == 0
    assert torch.isfinite(network.head.keys.weight.grad).all()


def test_an_error_that_a_whole_chunk_shares_counts_less():
    config = SMALL["light"]
    data = batch(config)
    network = PianoNetwork(config).eval()
    with torch.no_grad():
        output = network.from_features(data.features)[..., 0, Output.VELOCITY]
        louder = data._replace(velocity=output + 0.2)
        mixed = data._replace(velocity=output + 0.2 * torch.sign(torch.randn_like(output)))
        shared = joint_loss(network, louder, LossConfig())["velocity"].item()
        own = joint_loss(network, mixed, LossConfig())["velocity"].item()
    assert shared == pytest.approx(LossConfig().chunk_level * 0.04, rel=0.05)
    assert own == pytest.approx(0.04, rel=0.05)


def test_each_delay_learns_what_happened_that_long_ago():
    config = replace(SMALL["light"], other_delays=(SMALL["light"].delay - 240, SMALL["light"].delay + 400))
    data = batch(config)
    frames = data.state.shape[1]
    truth = torch.nn.functional.one_hot(data.state.long(), 5).float() * 20
    zeros = torch.zeros(*data.state.shape, len(Output))
    exact = torch.cat([truth, zeros], -1)

    class Told(PianoNetwork):
        late = (0, -3, 5)

        def decisions(self, features, heads, context):
            # Each head says what was true so many frames ago, or will be.
            return [torch.roll(exact, self.late[head], 1).requires_grad_() for head in heads]

    network = Told(config)
    only_states = LossConfig(velocity=0, shift=0, key=0, pedal=0)
    right = joint_loss(network, data, only_states)["total"].item()
    network.late = (0, 0, 0)
    wrong = joint_loss(network, data, only_states)["total"].item()
    assert right < 1e-3 < wrong and frames > 10
