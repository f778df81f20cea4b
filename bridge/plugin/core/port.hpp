// What lies between the audio thread of one activation and the I/O thread: two rings and a few numbers.
#pragma once

#include <atomic>
#include <cstdint>

#include "messages.hpp"
#include "ring.hpp"
#include "schedule.hpp"

namespace dawbridge {

enum class State : int { lost, greeting, ready, refused, closed };

// What a session hears with if the preset that was asked for cannot be had: one of the names that are known
// of it, or the sidecar's own.
enum class Resort : int { none, names, sidecar };

// Tells the I/O thread what a run of samples is, or what to ask of the sidecar at that point.
struct Head {
    enum class Kind : uint8_t { audio, flush_bypass, online, offline };
    Kind kind = Kind::audio;
    bool joins = false;  // goes on where the block before ended, transport and all
    uint32_t samples = 0;
    int64_t start = 0;
    Transport transport;
};

class Port {
public:
    Port(int rate, int channels) : audio(static_cast<size_t>(channels), static_cast<size_t>(2 * rate)) {}

    static constexpr size_t heads_size = 4096, cues_size = 8192;

    Ring<Head> heads{heads_size};
    SampleRing audio;
    Ring<Cue> cues{cues_size};

    std::atomic<State> state{State::lost};
    std::atomic<int64_t> final_until{0};   // everything before it is in `cues`
    std::atomic<bool> hurry{false};        // the audio thread waits: send what there is
    std::atomic<bool> tried{false};        // the sidecar was looked for at least once, and `state` is what came of it
    std::atomic<bool> answered{false};     // something with the right keys is at the other end
    std::atomic<uint64_t> losses{0};
    std::atomic<Resort> resort{Resort::none};
};

}  // namespace dawbridge
