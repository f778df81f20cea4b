// The messages of Bridge Protocol 1 that a plug-in sends and understands; PROTOCOL.md is the specification.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace dawbridge {

constexpr int protocol_version = 1;
constexpr size_t max_block = 8192, max_message = 1 << 20;
constexpr int max_lines = 256;

struct Meter {
    int beats = 4, unit = 4;
    bool operator==(const Meter& other) const { return beats == other.beats && unit == other.unit; }
};

// The host's transport at the first sample of a block; empty where the host does not say.
struct Transport {
    bool playing = false, recording = false, looping = false;
    std::optional<double> tempo_bpm, beats, bar;  // beats, bar: quarters from the start of the song
    std::optional<Meter> meter;
    std::optional<int64_t> position;  // samples from the start of the song
};

struct Hello {
    int rate = 48000, channels = 2, max_block = 512;
    std::string instance, name, track, software;
    std::vector<std::string> presets;
    std::string contents;  // a preset by value, instead of `presets`
    bool offline = false, monitor = true;
};

// Fields that are empty stay as they are.
struct Configure {
    std::optional<std::vector<std::string>> presets;
    std::optional<bool> offline, monitor;
    std::optional<std::string> name, track;
};

struct Latency {
    int64_t block = 0, resampler = 0, network = 0, chunk = 0, budget = 0;
    int64_t total() const { return block + resampler + network + chunk + budget; }
};

struct Instrument {
    int channel = 1;  // 1..16
    int lowest = 0, highest = 127;
    std::vector<uint8_t> velocities;       // 128 or none
    std::map<std::string, int> lanes;      // lane -> controller
};

struct Welcome {
    int protocol = 0;
    int64_t epoch = 0, session = 0, credit = 0, heartbeat_ms = 500;
    int lines = 1;
    Latency latency;
    std::string alignment = "aligned", weights, software, contents;
    std::vector<std::string> systems;
    Instrument instrument;
};

struct Refusal {
    std::string code, message, remedy, about = "hello";
};

struct Goodbye {
    std::string code = "end", reason, remedy;
};

struct Pong {
    int64_t sent_ns = 0, queue = 0, late = 0, dropped = 0;
    double load = 0;
};

struct Note {
    bool on = false;
    int64_t time = 0, voice = 0;
    int pitch = 0, channel = 0;
    double velocity = 0;
};

struct Control {
    int64_t time = 0;
    int controller = 0, channel = 0;
    double value = 0;
};

enum class Lane : uint8_t { dynamics, velocity, tempo, other };

struct LanePoint {
    int64_t time = 0;
    Lane lane = Lane::other;
    double value = 0;
};

struct Events {
    int64_t through_seq = 0, final_until = 0, due = 0;
    std::vector<Note> notes;
    std::vector<Control> controls;
    std::vector<LanePoint> lanes;
};

// A message of a bundle, to be sent: its line, its header, and how many bytes of the samples are its own.
struct Item {
    int line = 0;
    std::string header;
    size_t size = 0;
};

// The same as it was received; the header lies in the bytes of the bundle.
struct Letter {
    int line = 0;
    const char* header = nullptr;
    size_t size = 0;
};

}  // namespace dawbridge
