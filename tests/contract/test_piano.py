"""The piano networks: published sizes, exact streaming, the promised lateness."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from inference.features import MelConfig
from inference.piano.acoustic import AcousticNet, FilmBlock
from inference.piano.config import (
    CONFIGS,
    LIGHT,
    PAR,
    PAR_COMPACT,
    PITCHES,
    BlockConfig,
    ExchangeConfig,
    NoteState,
)
from inference.piano.exchange import Exchange
from inference.piano.network import Context, PianoNetwork
from inference.streaming import verify_streaming
from tests.contract.networks import SMALL, noise, restless

torch.set_num_threads(1)


@pytest.mark.parametrize(
    "config, total, parts",
    [
        (
            PAR,
            19_731_868,
            {
                ("note_acoustic",): 9_821_424,
                ("velocity_acoustic",): 9_821_424,
                ("context",): 2_710,
                ("notes", "note_head"): 38_645,
                ("velocities", "velocity_head"): 47_665,
            },
        ),
        (
            PAR_COMPACT,
            2_680_382,
            {
                ("note_acoustic",): 1_295_681,
                ("velocity_acoustic",): 1_295_681,
                ("context",): 2_710,
                ("notes", "note_head"): 38_645,
                ("velocities", "velocity_head"): 47_665,
            },
        ),
    ],
    ids=["par", "par-compact"],
)
def test_published_networks_have_the_published_size(config, total, parts):
    network = PianoNetwork(config)
    size = {name: sum(p.numel() for p in child.parameters()) for name, child in network.named_children()}
    assert sum(p.numel() for p in network.parameters()) == total
    for names, expected in parts.items():
        assert sum(size[name] for name in names) == expected, names
    assert sum(parts.values()) == total


def test_the_light_network_is_light():
    assert sum(p.numel() for p in PianoNetwork(LIGHT).parameters()) < 440_000


def test_keys_tell_each_other_what_they_heard():
    """What one key heard reaches those that listen to it, in the same frame, and no others."""
    torch.manual_seed(0)
    exchange = Exchange(8, ExchangeConfig(keys=(-12, 7), said=4, width=6))
    hidden = torch.randn(1, 3, PITCHES, 8)
    with torch.no_grad():
        assert torch.equal(exchange(hidden), hidden), "untrained, it adds nothing"
        exchange.revise.weight.normal_()
        struck = hidden.clone()
        struck[0, 1, 40] += 1
        changed = (exchange(struck) - exchange(hidden)).abs().amax(-1)[0]
    assert changed.nonzero().tolist() == [[1, key] for key in (40 - 7, 40, 40 + 12)]


@pytest.mark.parametrize("name", SMALL)
def test_networks_stream(name):
    network = restless(SMALL[name])
    length = 28 * network.config.hop + 17
    with torch.no_grad():
        states = network(noise(length, torch.Generator().manual_seed(0)))[..., : len(NoteState)].argmax(-1)
    changes = (states[:, 1:] != states[:, :-1]).float().mean()
    assert len(states.unique()) >= 3 and changes > 0.01, "the test wants decisions that change"
    verify_streaming(network, noise, length, tolerance=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_networks_stream_at_full_size(name):
    # In double precision, or rounding decides where what was decided comes back as context.
    network = restless(CONFIGS[name]).double()
    verify_streaming(network, lambda n, g: noise(n, g).double(), 3 * 4_096 + 17, trials=2, tolerance=1e-6)


@pytest.mark.parametrize("time_widths", [(1, 1), (3, 1), (1, 3), (3, 3), (5, 3)])
def test_film_blocks_stream_and_are_late_as_they_say(time_widths):
    torch.manual_seed(0)
    block = FilmBlock(3, 8, BlockConfig(4, time_widths, 2), film=True).eval()
    block.norm.running_mean.normal_()
    verify_streaming(block, lambda n, g: torch.randn(2, 3, n, 8, generator=g), 40)
    x = torch.randn(1, 3, 40, 8)
    with torch.no_grad():
        centred, late = centred_block(block, x), block(x)
    lag = sum(width // 2 for width in time_widths)
    assert block.latency == lag
    edge = 2 * lag  # a stream begins with carried zeros behind the bias, a centred signal with padding
    assert torch.allclose(late[:, :, edge + lag :], centred[:, :, edge : 40 - lag], atol=1e-5)


def centred_block(block, x):
    """The published, non-causal form of a block, from the same weights."""

    def conv(layer, y):
        time, bins = layer.conv.kernel_size
        return F.conv2d(y, layer.conv.weight, layer.conv.bias, padding=(time // 2, bins // 2))

    x = block.film(F.relu(conv(block.first, x)))
    y = block.film(block.norm(conv(block.second, x)))
    return F.max_pool2d(F.relu(x + y), (1, block.pool))


@pytest.mark.parametrize("name", ["par", "par-compact"])
def test_acoustic_net_is_the_published_one_six_frames_late(name):
    config = replace(SMALL[name], blocks=tuple(BlockConfig(4, (3, 3), pool) for pool in (2, 2, 1)))
    torch.manual_seed(1)
    net = AcousticNet(config, 1, 24).eval()
    x = torch.randn(2, 60, 24)
    with torch.no_grad():
        y = x.unsqueeze(1)
        for block in net.blocks:
            y = centred_block(block, y)
        offline, late = net.head(y), net(x)
    assert net.latency == 6
    assert torch.allclose(late[:, 18:], offline[:, 12:54], atol=1e-5)


def test_published_networks_are_late_by_six_frames():
    assert PianoNetwork(PAR_COMPACT).frame_latency == 6
    assert PianoNetwork(LIGHT).frame_latency == 0


@pytest.mark.parametrize("name", SMALL)
def test_a_network_gives_a_frame_per_hop(name):
    network = restless(SMALL[name])
    hop = network.config.hop
    with torch.no_grad():
        y, state = network.step(torch.zeros(1, hop - 1), network.init_state(1))
        assert y.shape == (1, 0, PITCHES, network.config.outputs)
        y, _ = network.step(torch.zeros(1, 3 * hop + 1), state)
    assert y.shape == (1, 4, PITCHES, network.config.outputs) and torch.isfinite(y).all()


@pytest.mark.parametrize("name", ["par", "light-context"])
def test_the_recursive_context_matters(name):
    """What a network decided in one frame changes the next."""
    network = restless(SMALL[name])
    x = noise(64 * 40, torch.Generator().manual_seed(3))[:1]
    with torch.no_grad():
        _, state = network.step(x[:, :1_280], network.init_state(1))
        expected, _ = network.step(x[:, 1_280:], state)
        forgotten = state._replace(context=network.init_state(1).context)
        changed, _ = network.step(x[:, 1_280:], forgotten)
    assert (expected - changed).abs().max() > 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_learns(name):
    network = restless(SMALL[name]).train()
    # The recursive networks learn with the context given; their whole path is covered by `forward`.
    audio = noise(80 * 20, torch.Generator().manual_seed(0))
    every_head = network.config.joint and not network.config.context
    output = network.from_features(network.front_end(audio)) if every_head else network(audio)
    output.square().sum().backward()
    idle = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not [key for key in idle if not key.startswith("context.")], idle


def test_a_joint_network_learns_with_the_context_it_would_give_itself():
    """Given its own decisions as context, a whole recording is decided as it is frame by frame."""
    network = restless(SMALL["light-context"])
    without_touch(network)
    audio = noise(30 * network.config.hop, torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected, context, told = network(audio), network.init_state(2).context, []
        for frame in range(expected.shape[1]):
            told.append(context)
            context = network.follow(context, expected[:, frame])
        own = Context(*(torch.stack(values, 1) for values in zip(*told, strict=True)))
        found = network.from_features(network.front_end(audio), own)[..., 0, :]
    assert own.state.unique().numel() >= 3
    assert torch.allclose(found, expected, atol=1e-4)


def test_context_is_of_one_delay():
    with pytest.raises(ValueError, match="other_delays"):
        replace(LIGHT, context=True)


def without_touch(network):
    """Loudness is of streams; what a network makes of features knows nothing of it."""
    for head in network.heads:
        head.touch.zero_()


def test_a_step_decides_after_the_chosen_delay():
    config = SMALL["light"]
    network = restless(config)
    audio = noise(30 * config.hop, torch.Generator().manual_seed(5))
    with torch.no_grad():
        without_touch(network)
        together = network.from_features(network.front_end(audio))
        assert together.shape[3] == len(config.delays) > 2
        for network.chosen in range(len(config.delays)):
            assert torch.allclose(network(audio), together[..., network.chosen, :], atol=1e-4)


@pytest.mark.parametrize("delay", [480, 4640], ids=["earlier", "with hindsight"])
def test_the_network_streams_whatever_delay_it_decides_after(delay):
    network = restless(SMALL["light"]).double()
    network.chosen = SMALL["light"].delays.index(delay)
    verify_streaming(network, lambda n, g: noise(n, g).double(), 60 * 80 + 3, tolerance=1e-7)


def test_a_joint_network_follows_the_level():
    with pytest.raises(ValueError, match="level"):
        replace(LIGHT, front_end=MelConfig())


def test_delays_differ_by_whole_hops():
    with pytest.raises(ValueError, match="hops of 320"):
        replace(LIGHT, other_delays=(100,))
