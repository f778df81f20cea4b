#include "link.hpp"

#include <algorithm>

#include <zmq.h>

namespace dawbridge {

namespace {

constexpr int64_t millisecond = 1'000'000, first_back_off = 250 * millisecond, last_back_off = 8000 * millisecond;
constexpr int64_t look_every = 250 * millisecond;
constexpr int misses = 4;
constexpr size_t most_backlog = 1 << 16;

bool set(void* socket, int option, int value) { return zmq_setsockopt(socket, option, &value, sizeof value) == 0; }

bool set(void* socket, int option, const std::string& value) {
    return zmq_setsockopt(socket, option, value.c_str(), value.size() + 1) == 0;
}

}  // namespace

Link::Link(void* context, std::shared_ptr<Port> port, Hello wish)
    : context_(context), port_(std::move(port)), wish_(std::move(wish)), inbox_(max_message) {
    scratch_.resize(static_cast<size_t>(wish_.channels) * max_block);
}

Link::~Link() { disconnect(0); }

void Link::pump(int64_t now_ns) {
    now_ = now_ns;
    const State state = port_->state.load(std::memory_order_relaxed);
    if (state == State::lost || state == State::refused) retry();
    if (socket_) listen();
    if (socket_) beat();
    deliver();
    if (port_->state.load(std::memory_order_relaxed) == State::ready) forward();
}

void Link::close() {
    if (socket_) say(encode_goodbye());
    disconnect(port_->state.load() == State::ready ? 200 : 0);
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
    if (read_connection(connection, trouble_)) connect(connection);
    else back_off();
    port_->tried = true;
}

void Link::connect(const Connection& connection) {
    const int64_t largest = max_message;
    socket_ = zmq_socket(context_, ZMQ_DEALER);
    const bool fine = socket_ && set(socket_, ZMQ_LINGER, 0) &&
                      zmq_setsockopt(socket_, ZMQ_MAXMSGSIZE, &largest, sizeof largest) == 0 &&
                      set(socket_, ZMQ_IPV6, connection.endpoint.find('[') != std::string::npos) &&
                      set(socket_, ZMQ_CURVE_SERVERKEY, connection.server_key) &&
                      set(socket_, ZMQ_CURVE_PUBLICKEY, connection.client_public) &&
                      set(socket_, ZMQ_CURVE_SECRETKEY, connection.client_secret) &&
                      zmq_connect(socket_, connection.endpoint.c_str()) == 0;
    if (!fine) {
        trouble_ = "cannot connect to " + connection.endpoint + ": " + zmq_strerror(zmq_errno());
        disconnect(0);
        return back_off();
    }
    heard_ = pinged_ = now_;
    seq_ = 0;
    waiting_.clear();
    configuring_ = false;
    port_->state = State::greeting;
    say(encode(wish_));
}

void Link::disconnect(int linger_ms) {
    if (!socket_) return;
    set(socket_, ZMQ_LINGER, linger_ms);
    zmq_close(socket_);
    socket_ = nullptr;
    waiting_.clear();
}

void Link::listen() {
    while (socket_) {
        const int size = zmq_recv(socket_, inbox_.data(), inbox_.size(), ZMQ_DONTWAIT);
        if (size < 0) return;
        heard_ = now_;
        int more = 0;
        size_t length = sizeof more;
        while (zmq_getsockopt(socket_, ZMQ_RCVMORE, &more, &length) == 0 && more)
            if (zmq_recv(socket_, scratch_.data(), 0, ZMQ_DONTWAIT) < 0) break;
        if (static_cast<size_t>(size) > inbox_.size()) continue;
        decode(inbox_.data(), static_cast<size_t>(size), message_);
        handle(message_);
    }
}

void Link::handle(const Message& message) {
    switch (message.kind) {
        case Kind::events: return heard(message.events);
        case Kind::welcome: return welcomed(message.welcome);
        case Kind::refusal: return refused(message.refusal);
        case Kind::goodbye: return lose("the sidecar ended the session: " + message.goodbye.reason);
        case Kind::pong:
        case Kind::unknown:
        case Kind::malformed: return;
    }
}

void Link::welcomed(const Welcome& welcome) {
    const bool fresh = port_->state.load() != State::ready;
    welcome_ = welcome;
    ++welcomes_;
    trouble_.clear();
    heartbeat_ = welcome.heartbeat_ms * millisecond;
    configuring_ = false;
    score_.begin(welcome.instrument, wish_.rate);
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
    lose(trouble);
    if (refusal.code != "busy" && refusal.code != "stranger") port_->state = State::refused;
}

void Link::heard(const Events& events) {
    while (!waiting_.empty() && waiting_.front() <= events.through_seq) waiting_.pop_front();
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
    disconnect(0);
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
    if (now_ - heard_ > heartbeat_ * misses) return lose("the sidecar does not answer");
    if (now_ - std::max(pinged_, heard_) <= heartbeat_) return;
    pinged_ = now_;
    say(encode_ping(now_));
}

void Link::forward() {
    while (!configuring_ && static_cast<int64_t>(waiting_.size()) < welcome_.credit && forward_one()) {
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
    size_t blocks = 0;
    const size_t samples = gather(blocks);
    if (blocks == 0) return false;
    port_->audio.read(scratch_.data(), samples, samples);
    const Bytes header = encode_audio(seq_ + 1, first->start, static_cast<int64_t>(samples), first->transport);
    if (say(header, scratch_, samples)) waiting_.push_back(++seq_);
    for (; blocks > 0; --blocks) port_->heads.pop();
    return true;
}

// Small blocks travel together: how many of them, and how many samples; none if more should come first.
size_t Link::gather(size_t& blocks) const {
    const auto most = static_cast<size_t>(wish_.max_block);
    const size_t enough = wish_.offline ? most : std::min(most, static_cast<size_t>(wish_.rate / 1000));
    size_t samples = 0;
    for (const Head* head; (head = port_->heads.peek(blocks)) != nullptr; ++blocks) {
        const bool fits = head->kind == Head::Kind::audio && samples + head->samples <= most;
        if (blocks > 0 && (!fits || !head->joins)) return samples;
        samples += head->samples;
    }
    if (samples < enough && !port_->hurry.load(std::memory_order_acquire)) blocks = 0;
    return samples;
}

void Link::command(Head::Kind kind) {
    if (kind == Head::Kind::flush_bypass) {
        say(encode_flush(++seq_, "bypass"));
        return;
    }
    Configure change;
    change.offline = wish_.offline = kind == Head::Kind::offline;
    configuring_ = say(encode(change));
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

bool Link::say(const Bytes& header) {
    return socket_ && zmq_send(socket_, header.data(), header.size(), ZMQ_DONTWAIT) >= 0;
}

bool Link::say(const Bytes& header, const std::vector<float>& samples, size_t count) {
    if (!socket_ || zmq_send(socket_, header.data(), header.size(), ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) return false;
    const size_t bytes = count * static_cast<size_t>(wish_.channels) * sizeof(float);
    return zmq_send(socket_, samples.data(), bytes, ZMQ_DONTWAIT) >= 0;
}

}  // namespace dawbridge
