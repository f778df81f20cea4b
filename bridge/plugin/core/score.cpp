#include "score.hpp"

#include <algorithm>
#include <cmath>

namespace dawbridge {

namespace {

constexpr int per_second = 100;  // values of one controller

int seven_bits(double value) { return std::clamp(static_cast<int>(std::lround(value * 127)), 0, 127); }

}  // namespace

void Score::begin(const Instrument& instrument, int rate) {
    instrument_ = instrument;
    spacing_ = rate / per_second;
    const auto found = instrument.lanes.find("dynamics");
    dynamics_ = found == instrument.lanes.end() ? -1 : found->second;
    for (auto& channel : sent_) channel.fill(Sent());
}

void Score::translate(const Events& events, std::vector<Cue>& cues) {
    const auto first = static_cast<std::ptrdiff_t>(cues.size());
    for (const Control& one : events.controls) control(one, cues);
    for (const LanePoint& one : events.lanes) lane(one, cues);
    for (const Note& one : events.notes) note(one, cues);
    std::stable_sort(cues.begin() + first, cues.end(), [](const Cue& a, const Cue& b) { return a.time < b.time; });
}

void Score::note(const Note& note, std::vector<Cue>& cues) const {
    if (note.pitch < instrument_.lowest || note.pitch > instrument_.highest) return;
    Cue cue;
    cue.time = note.time;
    cue.voice = note.voice;
    cue.kind = note.on ? Cue::Kind::note_on : Cue::Kind::note_off;
    cue.channel = static_cast<uint8_t>(channel(note.channel));
    cue.number = static_cast<uint8_t>(note.pitch);
    int velocity = seven_bits(note.velocity);
    if (note.on && !instrument_.velocities.empty()) velocity = instrument_.velocities[static_cast<size_t>(velocity)];
    cue.value = static_cast<uint8_t>(note.on ? std::max(velocity, 1) : velocity);  // an on with 0 would be an off
    cues.push_back(cue);
}

void Score::control(const Control& control, std::vector<Cue>& cues) {
    const int value = seven_bits(control.value), out = channel(control.channel);
    if (!worth(control.controller, out, value, control.time)) return;
    Cue cue;
    cue.time = control.time;
    cue.kind = Cue::Kind::control;
    cue.channel = static_cast<uint8_t>(out);
    cue.number = static_cast<uint8_t>(control.controller);
    cue.value = static_cast<uint8_t>(value);
    cues.push_back(cue);
}

void Score::lane(const LanePoint& point, std::vector<Cue>& cues) {
    if (point.lane == Lane::other) return;
    Cue cue;
    cue.time = point.time;
    cue.kind = Cue::Kind::lane;
    cue.lane = point.lane;
    cue.level = static_cast<float>(point.value);
    cues.push_back(cue);
    if (point.lane != Lane::dynamics || dynamics_ < 0) return;
    control({point.time, dynamics_, 0, std::clamp(point.value, 0.0, 1.0)}, cues);
}

// Not the same value again, and not too soon, unless a pedal goes up or down.
bool Score::worth(int controller, int channel, int value, int64_t time) {
    Sent& sent = sent_[static_cast<size_t>(channel)][static_cast<size_t>(controller)];
    if (value == sent.value) return false;
    const bool turn = controller != dynamics_ && (value == 0) != (sent.value <= 0);
    if (time - sent.time < spacing_ && !turn) return false;
    sent = {time, value};
    return true;
}

}  // namespace dawbridge
