#include "wire.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <zmq.h>

namespace dawbridge {

namespace {

constexpr int told = ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED, told_bytes = 6;
constexpr size_t most_bytes = 32 << 10, most_floats = 128 << 10;  // of a parcel; the protocol allows twice that

bool set(void* socket, int option, int value) { return zmq_setsockopt(socket, option, &value, sizeof value) == 0; }

bool set(void* socket, int option, const std::string& value) {
    return zmq_setsockopt(socket, option, value.c_str(), value.size() + 1) == 0;
}

}  // namespace

Wire::Wire(void* context, const Connection& connection)
    : connection_(connection), listeners_(max_lines, nullptr), inbox_(max_message) {
    const int64_t largest = max_message;
    socket_ = zmq_socket(context, ZMQ_DEALER);
    watch(context);
    const bool fine = socket_ && set(socket_, ZMQ_LINGER, 0) &&
                      zmq_setsockopt(socket_, ZMQ_MAXMSGSIZE, &largest, sizeof largest) == 0 &&
                      set(socket_, ZMQ_IPV6, connection.endpoint.find('[') != std::string::npos) &&
                      set(socket_, ZMQ_CURVE_SERVERKEY, connection.server_key) &&
                      set(socket_, ZMQ_CURVE_PUBLICKEY, connection.client_public) &&
                      set(socket_, ZMQ_CURVE_SECRETKEY, connection.client_secret) &&
                      zmq_connect(socket_, connection.endpoint.c_str()) == 0;
    if (!fine) trouble_ = "cannot connect to " + connection.endpoint + ": " + zmq_strerror(zmq_errno());
}

Wire::~Wire() {
    if (socket_) zmq_socket_monitor(socket_, nullptr, 0);
    if (monitor_) zmq_close(monitor_);
    if (!socket_) return;
    set(socket_, ZMQ_LINGER, linger_ms_);
    zmq_close(socket_);
}

// Hear from ZeroMQ whether anybody is there.
void Wire::watch(void* context) {
    const std::string name = "inproc://" + std::to_string(reinterpret_cast<uintptr_t>(this));
    if (!socket_ || zmq_socket_monitor(socket_, name.c_str(), told) != 0) return;
    monitor_ = zmq_socket(context, ZMQ_PAIR);
    if (monitor_) zmq_connect(monitor_, name.c_str());
}

// What the monitor says: an event and its value, then an address.
void Wire::look() {
    uint8_t text[256];
    for (int size; monitor_ && (size = zmq_recv(monitor_, text, sizeof text, ZMQ_DONTWAIT)) >= 0;) {
        if (size != told_bytes) continue;
        uint16_t event = 0;
        std::memcpy(&event, text, sizeof event);
        answers_ = event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
    }
}

bool Wire::free() const {
    const auto known = listeners_.begin() + std::clamp(lines_, 1, max_lines);
    return std::find(listeners_.begin(), known, nullptr) != known;
}

int Wire::join(Listener& listener) {
    const auto line = std::find(listeners_.begin(), listeners_.end(), nullptr);
    *line = &listener;
    return static_cast<int>(line - listeners_.begin());
}

void Wire::leave(int line) { listeners_[static_cast<size_t>(line)] = nullptr; }

float* Wire::say(int line, const Bytes& header, size_t floats) {
    const auto full = [&](const Parcel& parcel) {
        return lines_ <= 1 ||  // this sidecar knows no bundles
               parcel.items.size() == size_t{max_lines} || parcel.bytes + header.size() > most_bytes ||
               parcel.samples.size() + floats > most_floats;
    };
    if (parcels_.empty() || full(parcels_.back())) parcels_.push_back(std::exchange(spare_, Parcel()));
    Parcel& parcel = parcels_.back();
    const size_t before = parcel.samples.size();
    parcel.items.push_back({line, header, floats * sizeof(float)});
    parcel.samples.resize(before + floats);
    parcel.bytes += header.size();
    return parcel.samples.data() + before;
}

void Wire::flush() {
    for (; !parcels_.empty() && send(parcels_.front()); parcels_.pop_front()) {
        spare_ = std::move(parcels_.front());
        spare_.items.clear();
        spare_.samples.clear();
        spare_.bytes = 0;
    }
}

// What is said on the first line alone goes as it is, which every sidecar understands.
bool Wire::send(const Parcel& parcel) {
    const bool alone = parcel.items.size() == 1 && parcel.items[0].line == 0;
    const Bytes bundle = alone ? Bytes() : encode_bundle(parcel.items);
    const Bytes& header = alone ? parcel.items[0].header : bundle;
    const bool more = !parcel.samples.empty();
    if (zmq_send(socket_, header.data(), header.size(), ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) < 0) return false;
    return !more || zmq_send(socket_, parcel.samples.data(), parcel.samples.size() * sizeof(float), ZMQ_DONTWAIT) >= 0;
}

void Wire::listen() {
    look();
    for (int size; (size = zmq_recv(socket_, inbox_.data(), inbox_.size(), ZMQ_DONTWAIT)) >= 0;) {
        int more = 0;
        size_t length = sizeof more;
        char nothing = 0;
        while (zmq_getsockopt(socket_, ZMQ_RCVMORE, &more, &length) == 0 && more)
            if (zmq_recv(socket_, &nothing, 0, ZMQ_DONTWAIT) < 0) break;
        if (static_cast<size_t>(size) > inbox_.size()) continue;
        decode(inbox_.data(), static_cast<size_t>(size), message_);
        if (message_.kind != Kind::bundle) {
            pass_on(0, message_);
            continue;
        }
        for (const Letter& letter : message_.bundle) {
            decode(letter.header, letter.size, inner_);
            pass_on(letter.line, inner_);
        }
    }
}

void Wire::pass_on(int line, const Message& message) {
    if (listeners_[static_cast<size_t>(line)]) listeners_[static_cast<size_t>(line)]->hear(message);
}

std::shared_ptr<Wire> Exchange::find(const Connection& connection) {
    for (const auto& known : wires_) {
        const std::shared_ptr<Wire> wire = known.lock();
        if (!wire || wire->retired() || wire->connection().epoch != connection.epoch) continue;
        if (wire->asking()) return nullptr;
        if (wire->free()) return wire;
    }
    auto fresh = std::make_shared<Wire>(context_, connection);
    wires_.push_back(fresh);
    return fresh;
}

void Exchange::listen() {
    const auto gone = [](const auto& wire) { return wire.expired(); };
    wires_.erase(std::remove_if(wires_.begin(), wires_.end(), gone), wires_.end());
    for (size_t i = 0; i < wires_.size(); ++i)
        if (const auto wire = wires_[i].lock()) wire->listen();
}

void Exchange::flush() {
    for (const auto& known : wires_)
        if (const auto wire = known.lock()) wire->flush();
}

}  // namespace dawbridge
