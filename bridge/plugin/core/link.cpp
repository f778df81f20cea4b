#include "link.hpp"

#include <algorithm>

namespace dawbridge {

namespace {

constexpr int64_t millisecond = 1'000'000, first_back_off = 250 * millisecond, last_back_off = 8000 * millisecond;
constexpr int64_t look_every = 250 * millisecond;
constexpr int64_t soon = 5 * millisecond;  // until a connection that is being made turns out
constexpr int misses = 4;
constexpr size_t most_backlog = 1 << 16;

}  // namespace

Link::Link(Exchange& exchange, std::shared_ptr<Port> port, Hello wish)
    : exchange_(exchange), port_(std::move(port)), wish_(std::move(wish)), asked_(wish_) {}

Link::~Link() { disconnect(); }

void Link::pump(int64_t now_ns) {
    now_ = now_ns;
    const State state = port_->state.load(std::memory_order_relaxed);
    if (state == State::lost || state == State::refused) retry();
    if (wire_) beat();
    port_->answered = wire_ && wire_->answers();
    deliver();
    if (port_->state.load(std::memory_order_relaxed) == State::ready) forward();
}

void Link::close() {
    if (wire_) {
        say(encode_goodbye());
        wire_->flush();
        wire_->linger(port_->state.load() == State::ready ? 200 : 0);
    }
    disconnect();
    port_->state = State::closed;
}

// Connect when the back-off is over, or at once if another sidecar appeared.
void Link::retry() {
    if (now_ - looked_ < look_every && looked_ != 0) return;
    looked_ = now_;
    const uint64_t signature = connection_signature();
    const bool appeared = signature != seen_;
    seen_ = signature;
    if (!appeared && (now_ < retry_ || port_->state.load() == State::refused)) {
        port_->tried = true;
        return;
    }
    Connection connection;
    if (read_connection(connection, trouble_)) return connect(connection);
    back_off();
    port_->tried = true;
}

void Link::connect(const Connection& connection) {
    std::shared_ptr<Wire> wire = exchange_.find(connection);
    if (!wire) {
        looked_ = now_ - look_every + soon;
        seen_ = 0;
        return;
    }
    if (!wire->trouble().empty()) {
        trouble_ = wire->trouble();
        port_->tried = true;
        return back_off();
    }
    wire_ = std::move(wire);
    line_ = wire_->join(*this);
    heard_ = pinged_ = now_;
    seq_ = 0;
    forget_sent();
    configuring_ = false;
    wish_.presets = asked_.presets;  // what another sidecar did not have, this one may
    wish_.contents = asked_.contents;
    resort_ = Resort::none;
    regret_.clear();
    port_->state = State::greeting;
    port_->tried = true;
    say(encode(wish_));
}

void Link::disconnect() {
    if (!wire_) return;
    wire_->leave(line_);
    wire_.reset();
    forget_sent();
}

void Link::forget_sent() {
    waiting_.clear();
    unacknowledged_ = 0;
    begin_stream();
}

void Link::hear(const Message& message) {
    heard_ = now_;
    switch (message.kind) {
        case Kind::events:
            if (port_->state.load() == State::ready) heard(message.events);
            return;
        case Kind::welcome: return welcomed(message.welcome);
        case Kind::refusal: return refused(message.refusal);
        case Kind::goodbye:
            wire_->retire();
            return lose("the sidecar ended the session: " + message.goodbye.reason);
        case Kind::pong:
        case Kind::bundle:
        case Kind::unknown:
        case Kind::malformed: return;
    }
}

void Link::welcomed(const Welcome& welcome) {
    const bool fresh = port_->state.load() != State::ready;
    welcome_ = welcome;
    wire_->offers(welcome.lines);
    ++welcomes_;
    trouble_ = regret_;
    port_->resort = resort_;
    heartbeat_ = welcome.heartbeat_ms * millisecond;
    configuring_ = false;
    score_.begin(welcome.instrument, wish_.rate);
    begin_stream();
    if (!fresh) return;
    welcomed_at_ = now_;
    final_until_ = 0;
    discard();
    port_->state.store(State::ready, std::memory_order_release);
}

void Link::refused(const Refusal& refusal) {
    const bool ready = port_->state.load() == State::ready;
    configuring_ = false;
    const std::string trouble = refusal.message + (refusal.remedy.empty() ? "" : ". " + refusal.remedy);
    if (ready && refusal.code != "stranger") {
        trouble_ = trouble;
        return;
    }
    if ((refusal.code == "preset" || refusal.code == "system") && make_do(trouble)) return;
    if (refusal.code == "stranger") wire_->retire();
    lose(trouble);
    if (refusal.code != "busy" && refusal.code != "stranger") port_->state = State::refused;
}

// Ask for the next best preset: silence would be worse than another one, if it is said.
bool Link::make_do(const std::string& trouble) {
    if (!wish_.contents.empty()) {
        wish_.contents.clear();
        resort_ = wish_.presets.empty() ? Resort::sidecar : Resort::names;
    } else if (!wish_.presets.empty()) {
        wish_.presets.clear();
        resort_ = Resort::sidecar;
    } else {
        return false;
    }
    regret_ = trouble + (resort_ == Resort::names ? ". Hearing with the preset of that name instead" : ". Hearing with the sidecar's own preset instead");
    say(encode(wish_));
    return true;
}

void Link::heard(const Events& events) {
    for (; !waiting_.empty() && waiting_.front().seq <= events.through_seq; waiting_.pop_front())
        unacknowledged_ -= waiting_.front().samples;
    if (events.through_seq >= stream_seq_) due_ = events.due;
    translated_.clear();
    score_.translate(events, translated_);
    backlog_.insert(backlog_.end(), translated_.begin(), translated_.end());
    final_until_ = std::max(final_until_, events.final_until);
    if (backlog_.size() < most_backlog) return deliver();
    backlog_.assign(1, Cue());  // nobody plays: better silence than notes of long ago
}

// Panic, let go of the socket, try again later.
void Link::lose(const std::string& trouble) {
    if (port_->state.load() == State::ready) {
        ++port_->losses;
        if (now_ - welcomed_at_ > last_back_off) back_off_ = 0;  // it was not lost at once, again
    }
    trouble_ = trouble;
    port_->state = State::lost;
    disconnect();
    discard();
    backlog_.assign(1, Cue());  // a cue as it is made is a panic
    deliver();
    back_off();
}

void Link::back_off() {
    back_off_ = std::min(std::max(2 * back_off_, first_back_off), last_back_off);
    retry_ = now_ + back_off_;
}

void Link::beat() {
    if (now_ - heard_ > heartbeat_ * misses) {
        wire_->retire();
        return lose("the sidecar does not answer");
    }
    if (now_ - std::max(pinged_, heard_) <= heartbeat_) return;
    pinged_ = now_;
    say(encode_ping(now_));
}

void Link::forward() {
    const int64_t most = welcome_.credit * wish_.max_block;
    const auto few = [&] { return static_cast<int64_t>(waiting_.size()) < welcome_.credit && unacknowledged_ < most; };
    while (!configuring_ && few() && forward_one()) {
    }
}

bool Link::forward_one() {
    const Head* first = port_->heads.peek();
    if (!first) return false;
    if (first->kind != Head::Kind::audio) {
        command(first->kind);
        port_->heads.pop();
        return true;
    }
    if (!first->joins) begin_stream();
    size_t blocks = 0;
    const size_t samples = gather(blocks);
    if (blocks == 0) return false;
    post(*first, samples);
    for (; blocks > 0; --blocks) port_->heads.pop();
    return true;
}

// What is due was told of the stream before.
void Link::begin_stream() {
    due_ = 0;
    stream_seq_ = seq_ + 1;
}

void Link::post(const Head& first, size_t samples) {
    sent_until_ = first.start + static_cast<int64_t>(samples);
    const Bytes header = encode_audio(++seq_, first.start, static_cast<int64_t>(samples), first.transport);
    float* to = wire_->say(line_, header, samples * static_cast<size_t>(wish_.channels));
    port_->audio.read(to, samples, samples);
    waiting_.push_back({seq_, static_cast<int64_t>(samples)});
    unacknowledged_ += waiting_.back().samples;
}

// Stream time up to which it makes no difference when audio comes; 0 if that is not known. Rather a sample
// too early than too late, as a chunk need not be a whole number of the host's samples.
int64_t Link::due() const {
    const int64_t chunk = welcome_.latency.chunk, beyond = sent_until_ - due_;
    if (due_ == 0 || beyond < 0 || chunk < 2) return due_;
    return due_ + (beyond / chunk + 1) * (chunk - 1);
}

// Small blocks travel together: how many of them, and how many samples; none if more should come first.
size_t Link::gather(size_t& blocks) const {
    const int64_t until = due();
    const auto longest = static_cast<size_t>(wish_.max_block);
    const size_t most = until > 0 ? max_block : longest;
    const size_t enough = wish_.offline ? longest : std::min(longest, static_cast<size_t>(wish_.rate / 1000));
    size_t samples = 0;
    int64_t end = 0;
    for (const Head* head; (head = port_->heads.peek(blocks)) != nullptr; ++blocks) {
        const bool fits = head->kind == Head::Kind::audio && samples + head->samples <= most;
        if (blocks > 0 && (!fits || !head->joins)) return samples;
        samples += head->samples;
        end = head->start + head->samples;
        if (until > 0 && end >= until) return ++blocks, samples;
    }
    const bool early = until > 0 ? end < until : samples < enough;
    if (early && !port_->hurry.load(std::memory_order_acquire)) blocks = 0;
    return samples;
}

void Link::command(Head::Kind kind) {
    if (kind == Head::Kind::flush_bypass) {
        say(encode_flush(++seq_, "bypass"));
        return;
    }
    Configure change;
    change.offline = wish_.offline = kind == Head::Kind::offline;
    say(encode(change));
    configuring_ = true;
}

void Link::discard() {
    while (const Head* head = port_->heads.peek()) {
        port_->audio.skip(head->kind == Head::Kind::audio ? head->samples : 0);
        if (head->kind == Head::Kind::online || head->kind == Head::Kind::offline)
            wish_.offline = head->kind == Head::Kind::offline;
        port_->heads.pop();
    }
}

void Link::deliver() {
    while (!backlog_.empty() && port_->cues.push(backlog_.front())) backlog_.pop_front();
    if (backlog_.empty()) port_->final_until.store(final_until_, std::memory_order_release);
}

void Link::say(const Bytes& header) {
    if (wire_) wire_->say(line_, header);
}

}  // namespace dawbridge
