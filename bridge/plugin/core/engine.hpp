// All that a plug-in does, free of any SDK: the shell of each format calls these few functions.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "delay.hpp"
#include "hub.hpp"
#include "port.hpp"
#include "schedule.hpp"

namespace dawbridge {

enum class Mode : int { as_preset, aligned, immediate };

// What the user chose; read when the plug-in is activated.
struct Choices {
    std::vector<std::string> presets;  // names; none = those of the sidecar
    std::string contents;              // what these names meant when the project was made; counts instead of them
    Mode mode = Mode::as_preset;
    bool monitor = true, start = false, offline = false;
    std::string instance, track;
};

// For the status light.
struct Status {
    bool connected = false;
    Resort resort = Resort::none;
    uint64_t late = 0, dropped = 0, sounding = 0;
};

class Engine {
public:
    static constexpr int channels = 2;

    Engine();
    ~Engine();

    // [main thread] Find the sidecar, wait for its terms a moment, make room for everything.
    void activate(double rate, uint32_t longest_block, const Choices& choices);
    void deactivate();

    // [any] Samples of latency to report; changes in `activate` only.
    uint32_t latency() const { return static_cast<uint32_t>(delay_.length()); }

    // [main thread] What stands between us and a sidecar, in plain words; empty if nothing.
    std::string trouble() const;

    // [main thread] The preset by value that is heard with, as it was asked for; empty if that is not known.
    std::string contents() const;

    // [audio thread] One block of any length >= 0; `in` may be `out`. Never waits, unless `offline`.
    void process(const float* const* in, float* const* out, uint32_t samples, const Transport& transport,
                 bool offline, bool bypassed, Output& output) noexcept;

    // [any]
    Status status() const noexcept;

private:
    void cut(const float* const* in, uint32_t samples, const Transport& transport, Output& output) noexcept;
    bool jumped(const Transport& transport) const noexcept;
    void watch(const Transport& transport, bool bypassed, Output& output) noexcept;
    void offer(const float* const* in, uint32_t offset, uint32_t samples, const Transport& transport, bool joins,
               Output& output) noexcept;
    void wait_until(bool (Engine::*done)() const noexcept, Output& output) noexcept;
    bool has_room() const noexcept;
    bool has_answer() const noexcept;
    void collect(Output& output) noexcept;
    void report() noexcept;

    std::shared_ptr<Hub> hub_;
    std::shared_ptr<Seat> seat_;
    Port* port_ = nullptr;
    Schedule schedule_;
    Delay delay_;
    Transport last_;          // transport of the block before
    uint32_t last_samples_ = 0;
    int rate_ = 48000;
    int64_t position_ = 0;    // stream time of the next sample
    int64_t offered_ = 0;     // stream time after the last block given to the I/O thread
    int64_t wanted_ = 0;      // offline: answers are needed up to here
    int64_t stalled_at_ = 0;  // how far the sidecar had got when it stalled
    uint32_t needed_ = 0;     // room for so many samples
    bool offline_ = false, bypassed_ = false, session_offline_ = false, stalled_ = false;
    std::atomic<uint64_t> late_{0}, dropped_{0}, sounding_{0};
};

}  // namespace dawbridge
