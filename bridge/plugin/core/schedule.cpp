#include "schedule.hpp"

#include <algorithm>

namespace dawbridge {

namespace {

constexpr int64_t none = -1;
constexpr uint8_t note_on = 0x90, note_off = 0x80, control_change = 0xb0;
constexpr uint8_t sustain = 64, sostenuto = 66, soft = 67, all_notes_off = 123;

bool send(Output& output, uint32_t offset, uint8_t status, int channel, uint8_t first, uint8_t second) noexcept {
    return output.midi({offset, {static_cast<uint8_t>(status | channel), first, second}});
}

}  // namespace

Schedule::Schedule() {
    waiting_.reserve(capacity);
    for (Channel& channel : channels_) {
        channel.voice.fill(none);
        channel.control.fill(0);
        channel.used = false;
    }
}

void Schedule::reset(int64_t latency, bool immediate) noexcept {
    waiting_.clear();
    latency_ = latency;
    immediate_ = immediate;
    forget_ = 0;
    order_ = late_ = 0;
    unsettled_ = true;
}

void Schedule::add(const Cue& cue) noexcept {
    if (cue.kind != Cue::Kind::panic && cue.time < forget_) return;
    waiting_.push_back({immediate_ ? INT64_MIN : cue.time + latency_, order_++, cue});
    std::push_heap(waiting_.begin(), waiting_.end());
}

void Schedule::play(int64_t start, uint32_t samples, Output& output) noexcept {
    while (!waiting_.empty() && waiting_.front().due < start + samples) {
        const Entry& next = waiting_.front();
        const uint32_t offset = next.due < start ? 0 : static_cast<uint32_t>(next.due - start);
        if (!perform(next.cue, offset, output)) return;  // the host is full: go on in the next block
        if (next.cue.kind == Cue::Kind::note_on && !immediate_ && next.due < start) ++late_;
        std::pop_heap(waiting_.begin(), waiting_.end());
        waiting_.pop_back();
    }
}

void Schedule::panic(int64_t until, uint32_t offset, Output& output) noexcept {
    forget_ = std::max(forget_, until);
    const auto old = [this](const Entry& entry) { return entry.cue.time < forget_; };
    waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), old), waiting_.end());
    std::make_heap(waiting_.begin(), waiting_.end());
    unsettled_ = !silence(offset, output);
}

void Schedule::lose(Output& output) noexcept {
    waiting_.clear();
    unsettled_ = !silence(0, output);
}

void Schedule::settle(Output& output) noexcept {
    if (unsettled_) unsettled_ = !silence(0, output);
}

bool Schedule::perform(const Cue& cue, uint32_t offset, Output& output) noexcept {
    switch (cue.kind) {
        case Cue::Kind::note_on: return strike(cue, offset, output);
        case Cue::Kind::note_off: return release(cue, offset, output);
        case Cue::Kind::control:
            if (!send(output, offset, control_change, cue.channel, cue.number, cue.value)) return false;
            channels_[cue.channel].used = true;
            channels_[cue.channel].control[cue.number] = cue.value;
            return true;
        case Cue::Kind::lane: output.lane(cue.lane, cue.level); return true;
        case Cue::Kind::panic: break;  // see `lose`
    }
    return true;
}

bool Schedule::strike(const Cue& cue, uint32_t offset, Output& output) noexcept {
    Channel& channel = channels_[cue.channel];
    int64_t& voice = channel.voice[cue.number];
    if (voice != none) {
        if (!send(output, offset, note_off, cue.channel, cue.number, 64)) return false;
        voice = none;
        --sounding_count_;
    }
    if (!send(output, offset, note_on, cue.channel, cue.number, cue.value)) return false;
    voice = cue.voice;
    channel.used = true;
    ++sounding_count_;
    output.lane(Lane::velocity, static_cast<float>(cue.value) / 127.0f);
    return true;
}

bool Schedule::release(const Cue& cue, uint32_t offset, Output& output) noexcept {
    int64_t& voice = channels_[cue.channel].voice[cue.number];
    if (voice == none || voice != cue.voice) return true;  // released by a panic or by the next strike
    if (!send(output, offset, note_off, cue.channel, cue.number, cue.value)) return false;
    voice = none;
    --sounding_count_;
    return true;
}

bool Schedule::silence(uint32_t offset, Output& output) noexcept {
    for (int number = 0; number < 16; ++number)
        if (channels_[number].used && !silence(number, channels_[number], offset, output)) return false;
    return true;
}

bool Schedule::silence(int number, Channel& channel, uint32_t offset, Output& output) noexcept {
    for (int pitch = 0; pitch < 128; ++pitch) {
        if (channel.voice[pitch] == none) continue;
        if (!send(output, offset, note_off, number, static_cast<uint8_t>(pitch), 64)) return false;
        channel.voice[pitch] = none;
        --sounding_count_;
    }
    for (uint8_t pedal : {sostenuto, soft}) {
        if (channel.control[pedal] == 0) continue;
        if (!send(output, offset, control_change, number, pedal, 0)) return false;
        channel.control[pedal] = 0;
    }
    if (!send(output, offset, control_change, number, sustain, 0)) return false;
    channel.control[sustain] = 0;
    if (!send(output, offset, control_change, number, all_notes_off, 0)) return false;
    channel.used = false;
    return true;
}

}  // namespace dawbridge
