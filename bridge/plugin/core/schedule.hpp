// What the audio thread plays: events wait here until the block that contains `time + latency`.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "messages.hpp"

namespace dawbridge {

// One thing for the audio thread, already in MIDI's terms. Fixed size: it travels through a ring.
struct Cue {
    enum class Kind : uint8_t { note_on, note_off, control, lane, panic };
    int64_t time = 0;   // stream time of what was heard
    int64_t voice = 0;
    Kind kind = Kind::panic;
    uint8_t channel = 0, number = 0, value = 0;  // number: pitch or controller
    Lane lane = Lane::other;
    float level = 0;  // of a lane point
};

// One MIDI message at an offset into the block.
struct Midi {
    uint32_t offset = 0;
    uint8_t bytes[3] = {};
};

// Where MIDI and lane points go; `midi` says false when the host takes no more in this block.
class Output {
public:
    virtual bool midi(const Midi& message) noexcept = 0;
    virtual void lane(Lane lane, float level) noexcept = 0;

protected:
    ~Output() = default;
};

class Schedule {
public:
    // Cues that may wait; more are refused by `room`.
    static constexpr size_t capacity = 16384;

    Schedule();

    // Forget all cues and counts; what still sounds will be silenced by the next `settle`.
    // `latency` in samples; `immediate` plays cues as they come.
    void reset(int64_t latency, bool immediate) noexcept;

    bool room() const noexcept { return waiting_.size() < capacity; }
    void add(const Cue& cue) noexcept;  // only if there is `room`

    // Play what falls into the block of `samples` that begins at `start`; late cues at once.
    void play(int64_t start, uint32_t samples, Output& output) noexcept;

    // Silence all that sounds now, at `offset`; forget cues of before `until`, now and when they come.
    void panic(int64_t until, uint32_t offset, Output& output) noexcept;

    // The sidecar is lost: silence all, forget all that waits.
    void lose(Output& output) noexcept;

    // Silence what an earlier `panic` could not, because the host took no more MIDI.
    void settle(Output& output) noexcept;

    uint64_t late() const noexcept { return late_; }
    size_t sounding() const noexcept { return sounding_count_; }
    size_t waiting() const noexcept { return waiting_.size(); }

private:
    struct Entry {
        int64_t due;
        uint64_t order;
        Cue cue;
        bool operator<(const Entry& other) const noexcept {  // the heap has its greatest on top
            return due != other.due ? due > other.due : order > other.order;
        }
    };
    struct Channel {
        std::array<int64_t, 128> voice;    // that sounds on a key, or none
        std::array<uint8_t, 128> control;  // value that a controller was left at
        bool used;
    };

    bool perform(const Cue& cue, uint32_t offset, Output& output) noexcept;
    bool strike(const Cue& cue, uint32_t offset, Output& output) noexcept;
    bool release(const Cue& cue, uint32_t offset, Output& output) noexcept;
    bool silence(uint32_t offset, Output& output) noexcept;
    bool silence(int number, Channel& channel, uint32_t offset, Output& output) noexcept;

    std::vector<Entry> waiting_;
    std::array<Channel, 16> channels_;
    int64_t latency_ = 0, forget_ = 0;
    uint64_t order_ = 0, late_ = 0;
    size_t sounding_count_ = 0;
    bool immediate_ = false, unsettled_ = false;
};

}  // namespace dawbridge
