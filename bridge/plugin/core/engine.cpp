#include "engine.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "nap.hpp"

namespace dawbridge {

namespace {

constexpr double seek_s = 0.02, seek_beats = 0.1;  // as the sidecar has it, so that both break together
constexpr int wait_ms = 300, patience_ms = 2000, stall_ms = 3000;
constexpr int64_t longest_latency_s = 60;

// The transport `samples` later, if nothing happens in between.
Transport later(const Transport& transport, uint32_t samples, int rate) {
    Transport moved = transport;
    if (!transport.playing) return moved;
    if (moved.position) *moved.position += samples;
    if (moved.beats && moved.tempo_bpm) *moved.beats += *moved.tempo_bpm / 60 * samples / rate;
    return moved;
}

bool same_terms(const Transport& a, const Transport& b) {
    return a.playing == b.playing && a.recording == b.recording && a.looping == b.looping &&
           a.tempo_bpm == b.tempo_bpm && a.meter == b.meter;
}

bool has(const std::vector<std::string>& names, const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

Hello wish_for(int rate, uint32_t longest, const Choices& choices) {
    Hello wish;
    wish.rate = rate;
    wish.channels = 1;  // systems hear the mean of both: half of what would have to travel
    // tiny blocks travel together; who chose the offline preset asked for large steps
    const uint32_t least = has(choices.presets, "offline") ? max_block : static_cast<uint32_t>(rate / 1000);
    wish.max_block = static_cast<int>(std::clamp<uint32_t>(std::max(longest, least), 1, max_block));
    wish.instance = choices.instance;
    wish.track = choices.track;
    wish.name = "dawbridge";
    wish.software = "dawbridge plug-in";
    wish.presets = choices.presets;
    if (!choices.presets.empty()) wish.contents = choices.contents;  // who names none goes along with the sidecar
    wish.offline = choices.offline;
    wish.monitor = choices.monitor;
    return wish;
}

}  // namespace

Engine::Engine() = default;

Engine::~Engine() { deactivate(); }

void Engine::activate(double rate, uint32_t longest_block, const Choices& choices) {
    deactivate();
    rate_ = static_cast<int>(std::lround(rate));
    position_ = 0;
    last_ = {};
    last_samples_ = 0;
    bypassed_ = stalled_ = false;
    session_offline_ = choices.offline;
    dropped_ = 0;
    const Hello wish = wish_for(rate_, longest_block, choices);
    Welcome terms;
    bool known = false;
    if (rate_ >= 8000 && rate_ <= 384000) {
        if (!hub_) hub_ = Hub::shared();
        seat_ = std::make_shared<Seat>();
        seat_->port = std::make_shared<Port>(rate_, wish.channels);
        seat_->wish = wish;
        seat_->start = choices.start;
        port_ = seat_->port.get();
        hub_->take(seat_);
        known = hub_->await(*seat_, wait_ms, patience_ms);
        if (known) {
            const std::lock_guard<std::mutex> guard(seat_->lock);
            terms = seat_->welcome;
        } else {
            known = hub_->remembered(wish, terms);
        }
    }
    const bool immediate = !known || choices.mode == Mode::immediate ||
                           (choices.mode == Mode::as_preset && terms.alignment == "immediate");
    const int64_t promised = std::min(terms.latency.total(), longest_latency_s * rate_);
    delay_.prepare(channels, immediate ? 0 : static_cast<size_t>(promised));
    schedule_.reset(latency(), immediate);
    report();
}

void Engine::deactivate() {
    port_ = nullptr;
    if (seat_) seat_->leaving = true;
    seat_.reset();
}

std::string Engine::trouble() const {
    if (!seat_) return {};
    const std::lock_guard<std::mutex> guard(seat_->lock);
    return seat_->trouble;
}

std::string Engine::contents() const {
    if (!seat_ || seat_->port->resort.load() != Resort::none) return {};
    const std::lock_guard<std::mutex> guard(seat_->lock);
    return seat_->welcome.contents;
}

Status Engine::status() const noexcept {
    Status status;
    status.connected = port_ && port_->state.load(std::memory_order_relaxed) == State::ready;
    status.resort = port_ ? port_->resort.load(std::memory_order_relaxed) : Resort::none;
    status.late = late_.load(std::memory_order_relaxed);
    status.dropped = dropped_.load(std::memory_order_relaxed);
    status.sounding = sounding_.load(std::memory_order_relaxed);
    return status;
}

void Engine::process(const float* const* in, float* const* out, uint32_t samples, const Transport& transport,
                     bool offline, bool bypassed, Output& output) noexcept {
    offline_ = offline;
    if (port_) {
        port_->heads.expect();
        port_->audio.expect(samples);
        port_->cues.expect();
        fetch(&port_->state);
    }
    delay_.expect(samples);
    schedule_.settle(output);
    if (port_) {
        if (offline != session_offline_) {
            Head head;
            head.kind = offline ? Head::Kind::offline : Head::Kind::online;
            if (port_->heads.push(head)) session_offline_ = offline;
        }
        watch(transport, bypassed, output);
        if (bypassed_) last_ = transport, last_samples_ = samples;
        else cut(in, samples, transport, output);
        collect(output);
    }
    schedule_.play(position_, samples, output);
    delay_.process(in, out, samples);
    position_ += samples;
    report();
}

// Panic where the music breaks: stop, seek, loop, bypass.
void Engine::watch(const Transport& transport, bool bypassed, Output& output) noexcept {
    const bool stopped = last_.playing && !transport.playing;
    if (stopped || jumped(transport)) schedule_.panic(position_, 0, output);
    if (bypassed == bypassed_) return;
    bypassed_ = bypassed;
    if (!bypassed) return;
    schedule_.panic(position_, 0, output);
    Head head;
    head.kind = Head::Kind::flush_bypass;
    port_->heads.push(head);
}

bool Engine::jumped(const Transport& transport) const noexcept {
    if (!last_.playing || !transport.playing || last_samples_ == 0) return false;
    const Transport expected = later(last_, last_samples_, rate_);
    if (expected.position && transport.position)
        return std::abs(static_cast<double>(*transport.position - *expected.position)) > seek_s * rate_;
    if (expected.beats && transport.beats && expected.tempo_bpm)
        return std::abs(*transport.beats - *expected.beats) > seek_beats;
    return false;
}

void Engine::cut(const float* const* in, uint32_t samples, const Transport& transport, Output& output) noexcept {
    const auto most = static_cast<uint32_t>(seat_->wish.max_block);
    Transport here = transport;
    for (uint32_t done = 0; done < samples;) {
        const uint32_t piece = std::min(samples - done, most);
        const bool joins = last_samples_ > 0 && same_terms(here, last_) && !jumped(here);
        offer(in, done, piece, here, joins, output);
        last_ = here;
        last_samples_ = piece;
        done += piece;
        here = later(transport, done, rate_);
    }
}

void Engine::offer(const float* const* in, uint32_t offset, uint32_t samples, const Transport& transport, bool joins,
                   Output& output) noexcept {
    if (port_->state.load(std::memory_order_acquire) != State::ready) return;
    needed_ = samples;
    if (offline_ && !has_room()) wait_until(&Engine::has_room, output);
    if (!has_room()) {
        dropped_.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    port_->audio.write_mean(in, offset, samples);
    Head head;
    head.start = position_ + offset;
    head.samples = samples;
    head.joins = joins && head.start == offered_;
    head.transport = transport;
    port_->heads.push(head);
    offered_ = head.start + samples;
    wanted_ = offered_ - latency();
    if (offline_ && latency() > 0 && !has_answer()) wait_until(&Engine::has_answer, output);
}

bool Engine::has_room() const noexcept {
    return port_->audio.room() >= needed_ && port_->heads.room();
}

bool Engine::has_answer() const noexcept { return port_->final_until.load(std::memory_order_acquire) >= wanted_; }

// Offline only: wait as long as the sidecar gets on, and never again for one that stalled.
void Engine::wait_until(bool (Engine::*done)() const noexcept, Output& output) noexcept {
    using clock = std::chrono::steady_clock;
    int64_t reached = port_->final_until.load();
    if (stalled_ && reached == stalled_at_) return;
    stalled_ = false;
    auto limit = clock::now() + std::chrono::milliseconds(stall_ms);
    port_->hurry.store(true, std::memory_order_release);
    while (!(this->*done)() && port_->state.load(std::memory_order_acquire) == State::ready) {
        nap(50);
        collect(output);
        const int64_t now_reached = port_->final_until.load();
        if (now_reached != reached) limit = clock::now() + std::chrono::milliseconds(stall_ms);
        reached = now_reached;
        if (clock::now() < limit) continue;
        stalled_ = true;
        stalled_at_ = reached;
        break;
    }
    port_->hurry.store(false, std::memory_order_release);
}

void Engine::collect(Output& output) noexcept {
    for (const Cue* cue; (cue = port_->cues.peek()) != nullptr; port_->cues.pop()) {
        if (cue->kind == Cue::Kind::panic) schedule_.lose(output);
        else if (!schedule_.room()) return;
        else schedule_.add(*cue);
    }
}

void Engine::report() noexcept {
    late_.store(schedule_.late(), std::memory_order_relaxed);
    sounding_.store(schedule_.sounding(), std::memory_order_relaxed);
}

}  // namespace dawbridge
